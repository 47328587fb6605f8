#include "tests/unit/restore/revision_maker.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <unistd.h>

#include "daemon/repository/tree_encoder.h"

namespace backup {

namespace {

template <typename T>
T must(Result<T> result) {
    if (result.ok()) return std::move(result).value();
    std::fprintf(stderr, "making a revision: %s\n", result.error().message().c_str());
    std::abort();
}

}  // namespace

RevisionMaker::RevisionMaker(std::size_t pack_bytes) : pack_bytes_(pack_bytes) {
    RepositoryOptions options;
    options.clock = &clock_;
    if (Result<> made = backend_.create(); !made.ok()) std::abort();
    repository_ =
        must(Repository::init(backend_, as_bytes("x"), options, {.n = 2, .r = 8, .p = 1}));
}

RevisionMaker::~RevisionMaker() = default;

WriteSession& RevisionMaker::session() {
    if (!session_) {
        WriteOptions options;
        options.pack_bytes = pack_bytes_;
        session_ = must(repository_->start_write(options, {}));
    }
    return *session_;
}

Node RevisionMaker::base(const std::string& name, NodeType type, std::uint32_t unix_mode) {
    Node node;
    node.name = name;
    node.type = type;
    node.mode = go_mode(unix_mode);
    node.mtime = node.atime = node.ctime = kThen;
    node.uid = ::geteuid();
    node.gid = ::getegid();
    node.inode = next_inode_++;
    node.device_id = 1;
    if (type != NodeType::dir && type != NodeType::fifo) node.links = 1;
    return node;
}

BlobId RevisionMaker::save_data(const std::string& content) {
    return must(session().save(BlobType::data, as_bytes(content))).id;
}

Node RevisionMaker::file(const std::string& name, const std::string& content,
                         std::size_t blob_bytes) {
    Node node = base(name, NodeType::file, S_IFREG | 0644);
    node.size = content.size();
    node.has_content = true;
    for (std::size_t at = 0; at < content.size(); at += blob_bytes)
        node.content.push_back(save_data(content.substr(at, blob_bytes)));
    return node;
}

BlobId RevisionMaker::save_tree(std::vector<Node> entries) {
    TreeEncoder encoder(GoRules::go122, Zone::utc());
    return must(session().save(BlobType::tree, must(encode_tree(entries, encoder)))).id;
}

Node RevisionMaker::dir(const std::string& name, std::vector<Node> entries) {
    Node node = base(name, NodeType::dir, S_IFDIR | 0755);
    node.subtree = save_tree(std::move(entries));
    return node;
}

Node RevisionMaker::dir_with_tree(const std::string& name, const std::string& json) {
    Node node = base(name, NodeType::dir, S_IFDIR | 0755);
    node.subtree = must(session().save(BlobType::tree, as_bytes(json))).id;
    return node;
}

Node RevisionMaker::symlink(const std::string& name, const std::string& target) {
    Node node = base(name, NodeType::symlink, S_IFLNK | 0777);
    node.link_target = target;
    return node;
}

Node RevisionMaker::special(const std::string& name, NodeType type, std::uint32_t unix_type,
                            std::uint64_t device) {
    Node node = base(name, type, unix_type | 0640);
    node.device = device;
    return node;
}

RevisionId RevisionMaker::commit(std::vector<Node> root) {
    Snapshot snapshot;
    snapshot.time = Timestamp(std::chrono::seconds(1'795'160'000));
    snapshot.tree = save_tree(std::move(root));
    snapshot.paths = {"/"};
    snapshot.hostname = "host";
    const RevisionId id = must(session().commit(snapshot));
    session_.reset();
    return id;
}

void RevisionMaker::damage(const BlobHandle& handle) {
    if (Result<> fresh = repository_->refresh_index({}); !fresh.ok()) std::abort();
    repository_->each_indexed([&](const BlobHandle& found, const BlobLocation& location) {
        if (found != handle) return;
        const Handle file{FileType::pack, retag<struct FileTag>(location.pack)};
        Bytes content = must(backend_.get(file));
        content[location.offset + location.length / 2] ^= 1;
        backend_.overwrite(file, std::move(content));
    });
}

}  // namespace backup
