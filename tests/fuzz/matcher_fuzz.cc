// Patterns: lines up to an empty one are patterns, the others paths. The tables of a matcher must
// decide as its patterns do one by one.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "daemon/policy/matcher.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::vector<std::string> patterns, paths, lines;
    std::string_view text = as_text({data, size});
    bool in_paths = false;
    while (!text.empty() && patterns.size() < 50 && paths.size() < 50) {
        const auto end = std::min(text.find('\n'), text.size());
        const std::string line(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty()) {
            in_paths = true;
        } else if (in_paths) {
            paths.push_back("/" + line);
        } else if (Matcher::compile({line}).ok()) {
            patterns.push_back(line);
        }
    }
    const auto matcher = Matcher::compile(patterns);
    if (!matcher.ok()) std::abort();
    for (const std::string& path : paths) {
        const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
        for (bool directory : {false, true}) {
            std::optional<std::string> decided;
            for (const std::string& pattern : patterns) {
                const std::string plain = pattern.starts_with('!') ? pattern.substr(1) : pattern;
                const auto one = Matcher::compile({plain});
                if (one.ok() && one->excludes(path, name, directory)) decided = pattern;
            }
            const bool excluded = decided && !decided->starts_with('!');
            if (matcher->deciding_pattern(path, name, directory) != decided ||
                matcher->excludes(path, name, directory) != excluded) {
                std::fprintf(stderr, "%s is decided by %s\n", path.c_str(),
                             decided.value_or("none").c_str());
                std::abort();
            }
        }
    }
    return 0;
}
