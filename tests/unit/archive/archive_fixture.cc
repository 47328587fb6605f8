#include "tests/unit/archive/archive_fixture.h"

#include <algorithm>
#include <fstream>
#include <random>

#include <fcntl.h>
#include <sys/stat.h>

namespace backup {

namespace {
std::string_view last_component(std::string_view name) {
    return name.substr(name.rfind('/') == std::string_view::npos ? 0 : name.rfind('/') + 1);
}
}  // namespace

void ScriptedFs::touch(std::string_view name) {
    std::lock_guard lock(mutex_);
    ++touched_[std::string(name)];
}

int ScriptedFs::open(int directory, const char* name, int flags) {
    std::string_view last = last_component(name);
    touch(last);
    if (on_open)
        if (int error = on_open(last); error != 0) return error;
    int fd = RealFs::open(directory, name, flags);
    if (fd >= 0) {
        std::lock_guard lock(mutex_);
        files_[fd] = {std::string(last)};
    }
    return fd;
}

int ScriptedFs::status(int directory, const char* name, int flags, struct statx& out) {
    if (name[0] != '\0') {
        std::string_view last = last_component(name);
        touch(last);
        if (on_status)
            if (int error = on_status(last); error != 0) return error;
        return real_status(directory, name, flags, out);
    }
    std::string open_name;
    int number = 0;
    {
        std::lock_guard lock(mutex_);
        open_name = files_[directory].name;
        number = files_[directory].stats++;
    }
    if (on_fstat)
        if (int error = on_fstat(open_name, number); error != 0) return error;
    int error = real_status(directory, name, flags, out);
    if (error == 0 && change_status) change_status(open_name, out);
    return error;
}

int ScriptedFs::real_status(int directory, const char* name, int flags, struct statx& out) {
    int error = RealFs::status(directory, name, flags, out);
    if (error != 0 || !other_device) return error;
    std::string path = name;
    if (!path.starts_with('/')) {
        std::string link = "/proc/self/fd/" + std::to_string(directory);
        path = std::filesystem::read_symlink(link).string() + "/" + path;
    }
    out.stx_dev_minor += other_device(path);
    return 0;
}

int ScriptedFs::sync_data(int fd) {
    // Of a duplicate, so its name is looked up.
    std::string link = "/proc/self/fd/" + std::to_string(fd);
    std::string path = std::filesystem::read_symlink(link).string();
    if (on_sync)
        if (int error = on_sync(last_component(path)); error != 0) return error;
    return RealFs::sync_data(fd);
}

ssize_t ScriptedFs::list(int directory, MutableByteView buffer) {
    std::string name;
    {
        std::lock_guard lock(mutex_);
        name = files_[directory].name;
    }
    if (on_list)
        if (int error = on_list(name); error != 0) return error;
    return RealFs::list(directory, buffer);
}

ssize_t ScriptedFs::read(int fd, MutableByteView buffer) {
    std::string name;
    int number = 0;
    {
        std::lock_guard lock(mutex_);
        name = files_[fd].name;
        number = files_[fd].reads++;
    }
    if (on_read)
        if (int error = on_read(name, number); error != 0) return error;
    std::size_t longest = longest_read_;
    while (buffer.size() > longest && !longest_read_.compare_exchange_weak(longest, buffer.size()))
        continue;
    return RealFs::read(fd, buffer);
}

std::vector<std::string> ScriptedFs::touched() const {
    std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, count] : touched_) names.push_back(name);
    return names;
}

void ScriptedFs::forget_touched() {
    std::lock_guard lock(mutex_);
    touched_.clear();
}

ArchiveTest::ArchiveTest() : source_(folder_.path() + "/source") {
    auto made = Repository::init(backend_, as_bytes("secret"), {.clock = &clock_},
                                 KeyCost{.n = 16, .r = 1, .p = 1});
    EXPECT_TRUE(made.ok());
    repository_ = std::move(*made);
    ::mkdir(source_.c_str(), 0755);
    set_.id = "test";
    set_.paths = {*Path::parse(source_)};
    request_.set = &set_;
    request_.fs = &fs_;
    request_.hostname = "host";
    request_.threads = 4;
}

void ArchiveTest::make_directory(const std::string& name) {
    std::filesystem::create_directories(at(name));
}

void ArchiveTest::put(const std::string& name, std::string_view content) {
    std::filesystem::create_directories(std::filesystem::path(at(name)).parent_path());
    std::ofstream file(at(name), std::ios::binary | std::ios::trunc);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    ASSERT_TRUE(file.flush().good()) << name;
}

std::string ArchiveTest::random_text(std::size_t size, unsigned seed) {
    std::mt19937_64 random(seed);
    std::string text(size, '\0');
    for (char& byte : text) byte = static_cast<char>(random());
    return text;
}

Result<BackupResult> ArchiveTest::try_run(std::stop_token stop) {
    progress_ = std::make_unique<Progress>();
    exceptions_ = std::make_unique<ExceptionLog>(*progress_);
    auto result = run_backup(request_, *repository_, *progress_, *exceptions_, stop);
    if (result.ok()) {
        request_.parent = RevisionEntry{result->revision, result->snapshot};
        ++request_.number;
    }
    return result;
}

BackupResult ArchiveTest::run() {
    auto result = try_run();
    if (!result.ok()) {
        ADD_FAILURE() << result.error().message();
        return {};
    }
    return *result;
}

std::vector<Node> ArchiveTest::nodes(const BackupResult& result, const std::string& path) {
    BlobId tree = result.tree;
    auto parsed = Path::parse(path);
    for (std::string_view component : parsed->components()) {
        auto json = repository_->blobs().load({BlobType::tree, tree});
        if (!json.ok()) return {};
        auto found = decode_tree(*json);
        if (!found.ok()) return {};
        auto child = std::ranges::find(*found, component, &Node::name);
        if (child == found->end() || !child->subtree) return {};
        tree = *child->subtree;
    }
    auto json = repository_->blobs().load({BlobType::tree, tree});
    if (!json.ok()) return {};
    return decode_tree(*json).value_or({});
}

std::vector<std::string> ArchiveTest::names(const BackupResult& result, const std::string& path) {
    std::vector<std::string> found;
    for (Node& node : nodes(result, path)) found.push_back(std::move(node.name));
    return found;
}

std::optional<Node> ArchiveTest::node(const BackupResult& result, const std::string& path) {
    auto parsed = Path::parse(path);
    for (Node& node : nodes(result, parsed->parent().text()))
        if (node.name == parsed->name()) return std::move(node);
    return std::nullopt;
}

std::string ArchiveTest::content(const Node& node) {
    std::string text;
    for (const BlobId& id : node.content) {
        auto chunk = repository_->blobs().load({BlobType::data, id});
        if (!chunk.ok()) return "missing: " + id.hex();
        text += as_text(*chunk);
    }
    return text;
}

std::vector<std::string> ArchiveTest::exception_texts() const {
    std::vector<std::string> texts;
    for (const Exception& one : exceptions_->list())
        texts.push_back(one.path.substr(std::min(one.path.size(), source_.size())) + ": " +
                        one.error.message());
    std::ranges::sort(texts);
    return texts;
}

}  // namespace backup
