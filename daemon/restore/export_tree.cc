#include "daemon/restore/export_tree.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "daemon/restore/restore.h"

namespace backup {

namespace {

constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kMostHeld = std::uint64_t{16} << 20;  // read as a whole before its header
constexpr std::uint64_t kMostOctal = 077777777777;            // 11 digits
constexpr std::uint64_t kMostId = 07777777;                   // 7 digits
constexpr std::size_t kNameField = 100;

// The fields of a ustar header: offset, length.
struct Field {
    std::size_t at, size;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kTime{136, 12}, kSum{148, 8}, kType{156, 1}, kLink{157, 100}, kMagic{257, 8}, kUser{265, 32},
    kGroup{297, 32}, kMajor{329, 8}, kMinor{337, 8};

class Block {
  public:
    void text(Field field, std::string_view value) {
        std::memcpy(bytes_ + field.at, value.data(), std::min(value.size(), field.size));
    }
    void octal(Field field, std::uint64_t value) {
        for (std::size_t i = field.size - 1; i-- > 0; value >>= 3)
            bytes_[field.at + i] = static_cast<char>('0' + (value & 7));
    }
    std::string finish() {
        std::memset(bytes_ + kSum.at, ' ', kSum.size);
        std::uint64_t sum = 0;
        for (const char byte : bytes_) sum += static_cast<unsigned char>(byte);
        octal({kSum.at, 7}, sum);
        bytes_[kSum.at + 6] = '\0';
        return {bytes_, kBlock};
    }

  private:
    char bytes_[kBlock] = {};
};

// "LENGTH KEY=VALUE\n", where the length counts itself.
void add_record(std::string& records, std::string_view key, std::string_view value) {
    const std::size_t rest = key.size() + value.size() + 3;
    std::size_t length = rest + 1;
    while (rest + std::to_string(length).size() != length)
        length = rest + std::to_string(length).size();
    records += std::to_string(length);
    records += ' ';
    records += key;
    records += '=';
    records += value;
    records += '\n';
}

std::string time_text(const FileTime& time) {
    std::string fraction = std::to_string(1'000'000'000u + time.nanoseconds).substr(1);
    // A time before the epoch counts down: -1.5 is what stat calls -2 and half a second.
    if (time.seconds < 0 && time.nanoseconds != 0) {
        fraction = std::to_string(2'000'000'000u - time.nanoseconds).substr(1);
        const std::int64_t whole = time.seconds + 1;
        return (whole == 0 ? "-0" : std::to_string(whole)) + "." + fraction;
    }
    return std::to_string(time.seconds) + "." + fraction;
}

char type_flag(const Node& node, bool is_link) {
    if (is_link) return '1';
    switch (node.type) {
        case NodeType::file:
            return '0';
        case NodeType::dir:
            return '5';
        case NodeType::symlink:
            return '2';
        case NodeType::dev:
            return '4';
        case NodeType::chardev:
            return '3';
        case NodeType::fifo:
            return '6';
        case NodeType::socket:
        case NodeType::irregular:
        case NodeType::unknown:
            break;
    }
    return 0;
}

std::uint64_t major_of(std::uint64_t device) {
    return ((device >> 8) & 0xfff) | ((device >> 32) & ~std::uint64_t{0xfff});
}
std::uint64_t minor_of(std::uint64_t device) {
    return (device & 0xff) | ((device >> 12) & ~std::uint64_t{0xff});
}

std::string records_of(const Node& node, std::string_view name, std::string_view link,
                       std::uint64_t size) {
    std::string records;
    add_record(records, "mtime", time_text(node.mtime));
    if (name.size() > kNameField) add_record(records, "path", name);
    if (link.size() > kNameField) add_record(records, "linkpath", link);
    if (size > kMostOctal) add_record(records, "size", std::to_string(size));
    if (node.uid > kMostId) add_record(records, "uid", std::to_string(node.uid));
    if (node.gid > kMostId) add_record(records, "gid", std::to_string(node.gid));
    if (node.user.size() >= kUser.size) add_record(records, "uname", node.user);
    if (node.group.size() >= kGroup.size) add_record(records, "gname", node.group);
    for (const ExtendedAttribute& attribute : node.extended_attributes)
        if (attribute.name.find('=') == std::string::npos)
            add_record(records, "SCHILY.xattr." + attribute.name, as_text(attribute.value));
    return records;
}

}  // namespace

std::string tar_padding(std::uint64_t size) {
    return std::string((kBlock - size % kBlock) % kBlock, '\0');
}

std::string tar_header(const Node& node, std::string_view path, std::string_view links_to) {
    std::string name(path);
    if (node.type == NodeType::dir) name += '/';
    const std::string_view link = links_to.empty() ? std::string_view(node.link_target) : links_to;
    const bool has_content = node.type == NodeType::file && links_to.empty();
    const std::uint64_t size = has_content ? node.size : 0;
    const std::string records = records_of(node, name, link, size);

    Block extended;
    extended.text(kName, "pax_header");
    extended.octal(kMode, 0644);
    extended.octal(kUid, 0);
    extended.octal(kGid, 0);
    extended.octal(kSize, records.size());
    extended.octal(kTime, 0);
    extended.text(kType, "x");
    extended.text(kMagic, std::string_view("ustar\00000", 8));

    Block block;
    block.text(kName, name);
    block.octal(kMode, node.unix_mode() & 07777);
    block.octal(kUid, std::min<std::uint64_t>(node.uid, kMostId));
    block.octal(kGid, std::min<std::uint64_t>(node.gid, kMostId));
    block.octal(kSize, std::min(size, kMostOctal));
    block.octal(kTime, static_cast<std::uint64_t>(
                           std::clamp<std::int64_t>(node.mtime.seconds, 0, kMostOctal)));
    const char flag = type_flag(node, !links_to.empty());
    block.text(kType, {&flag, 1});
    block.text(kLink, link);
    block.text(kMagic, std::string_view("ustar\00000", 8));
    block.text({kUser.at, kUser.size - 1}, node.user);
    block.text({kGroup.at, kGroup.size - 1}, node.group);
    if (node.type == NodeType::dev || node.type == NodeType::chardev) {
        block.octal(kMajor, std::min(major_of(node.device), kMostId));
        block.octal(kMinor, std::min(minor_of(node.device), kMostId));
    }
    return extended.finish() + records + tar_padding(records.size()) + block.finish();
}

namespace {

class Export {
  public:
    Export(Repository& repository, const RestoreSource& source, const WriteBytes& write,
           Progress& progress, ExceptionLog& exceptions, std::stop_token stop)
        : repository_(repository),
          source_(source),
          write_(write),
          progress_(progress),
          exceptions_(exceptions),
          stop_(std::move(stop)) {}

    Result<> run() {
        for (const Selected& one : source_.selected) {
            const bool is_root = one.node.type == NodeType::dir && one.node.name.empty();
            const std::string above = one.parent_path == "/" ? "" : one.parent_path;
            const FoundNode start{is_root ? "/" : above + "/" + one.node.name, one.node};
            if (start.node.type == NodeType::dir && !is_root) TRY(add(start.path, start.node));
            TRY(visit_nodes(
                repository_, start, true,
                [this](const std::string& path, const Node& node) { return add(path, node); },
                stop_, source_.rule));
        }
        // Two empty blocks: nothing is missing.
        return write_(std::string(2 * kBlock, '\0'));
    }

  private:
    Result<> leave_out(const std::string& path, Error error) {
        exceptions_.add(path, std::move(error));
        return {};
    }

    Result<> add(const std::string& path, const Node& node) {
        if (!source_.rule.may_open(node)) {
            TRY(leave_out(path, Error(ErrorKind::denied, ErrorCode::access_denied,
                                      "you could not have read it then")));
            // A directory that cannot be listed is there all the same.
            if (node.type != NodeType::dir) return {};
        }
        if (type_flag(node, false) == 0)
            return leave_out(path, Error(ErrorKind::invalid, ErrorCode::unsupported,
                                         "an archive has no such type"));
        const std::string name = path.substr(1);
        if (node.type != NodeType::dir && node.links > 1 && node.inode != 0) {
            auto [known, is_new] = names_.try_emplace({node.inode, node.device_id}, name);
            if (!is_new) return write_(tar_header(node, name, known->second));
        }
        ++progress_.items_done;
        if (node.type != NodeType::file) return write_(tar_header(node, name));
        if (node.size <= kMostHeld) return add_held(path, name, node);
        TRY(write_(tar_header(node, name)));
        TRY(read_content(
            repository_, node, [this](ByteView bytes) { return put(as_text(bytes)); }, stop_));
        return write_(tar_padding(node.size));
    }

    Result<> add_held(const std::string& path, const std::string& name, const Node& node) {
        std::string content;
        const Result<> read = read_content(
            repository_, node,
            [&](ByteView bytes) -> Result<> {
                content += as_text(bytes);
                return {};
            },
            stop_);
        if (!read.ok()) {
            const ErrorKind kind = read.error().kind();
            if (kind != ErrorKind::corrupt && kind != ErrorKind::not_found) return read;
            if (node.links > 1) names_.erase({node.inode, node.device_id});
            return leave_out(path, Error(read.error()));
        }
        TRY(write_(tar_header(node, name)));
        TRY(put(content));
        return write_(tar_padding(node.size));
    }

    Result<> put(std::string_view bytes) {
        TRY(write_(bytes));
        progress_.bytes_done += bytes.size();
        return {};
    }

    Repository& repository_;
    const RestoreSource& source_;
    const WriteBytes& write_;
    Progress& progress_;
    ExceptionLog& exceptions_;
    const std::stop_token stop_;
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::string> names_;  // of hard links
};

}  // namespace

Result<> export_tree(Repository& repository, const RestoreSource& source, const WriteBytes& write,
                     Progress& progress, ExceptionLog& exceptions, std::stop_token stop) {
    progress.phase = Phase::restoring;
    return Export(repository, source, write, progress, exceptions, std::move(stop)).run();
}

}  // namespace backup
