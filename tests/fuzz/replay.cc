// The driver of fuzz targets where there is no libFuzzer: runs every file of the folders it is
// given through the target, and some hundred small damages of each, always the same ones. A target
// that does not like an input aborts.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(const std::string& input) {
    // An exact copy on the heap, so that AddressSanitizer sees a read behind its end.
    const std::vector<std::uint8_t> bytes(input.begin(), input.end());
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

std::string damaged(std::string input, std::mt19937& random) {
    for (auto count = 1 + random() % 3; count > 0 && !input.empty(); --count) {
        const std::size_t at = random() % input.size();
        switch (random() % 5) {
            case 0:
                input[at] = static_cast<char>(random());
                break;
            case 1:
                input[at] = static_cast<char>(input[at] ^ 1 << random() % 8);
                break;
            case 2:
                input.erase(at, 1 + random() % 16);
                break;
            case 3:
                input.insert(at, input.substr(random() % input.size(), random() % 32));
                break;
            case 4:
                input.resize(at);
                break;
        }
    }
    return input;
}

}  // namespace

int main(int count, char** arguments) {
    namespace fs = std::filesystem;
    std::vector<fs::path> files;
    std::size_t most_rounds = 500;
    for (int i = 1; i < count; ++i) {
        if (std::string(arguments[i]) == "--rounds" && i + 1 < count) {
            most_rounds = std::strtoul(arguments[++i], nullptr, 10);
            continue;
        }
        if (!fs::is_directory(arguments[i])) {
            files.emplace_back(arguments[i]);
            continue;
        }
        for (const auto& entry : fs::directory_iterator(arguments[i])) {
            if (entry.is_regular_file()) files.push_back(entry.path());
        }
    }
    std::sort(files.begin(), files.end());
    if (files.empty()) {
        std::fprintf(stderr, "no inputs\n");
        return 1;
    }
    run("");
    for (const fs::path& path : files) {
        std::ifstream file(path, std::ios::binary);
        const std::string input{std::istreambuf_iterator<char>(file), {}};
        std::printf("%s\n", path.filename().c_str());
        std::fflush(stdout);
        run(input);
        std::mt19937 random(1);
        const std::size_t rounds =
            std::min(most_rounds, std::clamp<std::size_t>(2000000 / (input.size() + 1), 20, 500));
        for (std::size_t i = 0; i < rounds; ++i) run(damaged(input, random));
    }
    std::printf("%zu inputs\n", files.size());
    return 0;
}
