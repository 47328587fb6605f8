#include "daemon/repository/tree_scanner.h"

#include <unordered_set>
#include <utility>

#include "daemon/repository/json_reader.h"
#include "daemon/repository/node_decoder.h"
#include "daemon/repository/node_text.h"
#include "daemon/repository/standard_node.h"
#include "daemon/repository/tree_encoder.h"

namespace backup {

namespace {

constexpr std::size_t kIdText = 64;
constexpr std::size_t kContentStep = kIdText + 3;  // "<64 hex>",

std::string_view problem_of(const RawNode& node) {
    if (const auto problem = name_problem(node.name); !problem.empty()) return problem;
    if (node.type == NodeType::dir && node.subtree_hex.empty())
        return "a directory without subtree";
    if (node.type == NodeType::file && !node.has_content && node.size != 0)
        return "a file without content";
    return {};
}

}  // namespace

std::size_t RawNode::content_count() const {
    return content_json.size() / kContentStep;
}

BlobId RawNode::content_id(std::size_t index) const {
    return BlobId::from_hex(content_json.substr(2 + index * kContentStep, kIdText))
        .value_or(BlobId{});
}

BlobId RawNode::subtree() const {
    return BlobId::from_hex(subtree_hex).value_or(BlobId{});
}

struct TreeScanner::Impl {
    enum class State : std::uint8_t { begin, nodes, done };

    explicit Impl(std::string_view json) : whole(json), end(json.data() + json.size()) {}

    const std::string_view whole;
    const char* at = nullptr;
    const char* end;  // of the part that is read node by node
    State state = State::begin;
    bool is_first = true;
    bool whole_checked = false;  // the general reader has been over the whole text
    bool checks_names = true;
    bool out_of_order = false;
    std::optional<Error> failed;

    RawNode node;
    std::string name_buffer;
    Node decoded;     // of a node in an unusual encoding ...
    Bytes canonical;  // ... and its usual one
    std::optional<TreeEncoder> encoder;

    bool has_last_name = false;
    std::string last_name;
    std::unique_ptr<std::unordered_set<std::string>> names;  // all, once some are out of order

    Error corrupt(std::string_view what) const {
        const auto byte = at == nullptr ? 0 : at - whole.data();
        return Error(ErrorKind::corrupt,
                     "tree: " + std::string(what) + " at byte " + std::to_string(byte));
    }
    std::string_view rest() const { return {at, static_cast<std::size_t>(end - at)}; }
    void skip_space() {
        while (at != end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) ++at;
    }

    Result<> open();
    Result<> close();
    Result<bool> step(std::string_view& problem);
    Result<> read_unusual(std::string_view& problem);
    std::string_view check_order();
};

// Finds the list of nodes.
Result<> TreeScanner::Impl::open() {
    constexpr std::string_view kUsual = R"({"nodes":[)";
    state = State::nodes;
    if (whole.starts_with(kUsual)) {
        at = whole.data() + kUsual.size();
        return {};
    }
    JsonReader json(whole);
    std::size_t from = 0, to = 0;
    bool found = false;
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
        const bool is_nodes = key == "nodes";
        if (is_nodes && found) json.fail("two lists of nodes");
        found |= is_nodes;
        const auto kind = json.peek();
        const std::size_t value = json.position();
        json.skip();
        if (!is_nodes || kind == JsonReader::Kind::null)
            continue;  // very old trees without entries have null
        if (kind != JsonReader::Kind::array) json.fail("\"nodes\" is no list");
        from = value;
        to = json.position();
    }
    if (!json.finish()) return json.error("tree");
    if (!found) return corrupt("no list of nodes");
    whole_checked = true;
    if (to == 0) {
        state = State::done;
        return {};
    }
    at = whole.data() + from + 1;
    end = whole.data() + to;
    return {};
}

// Behind the list: nothing but the end, or other keys.
Result<> TreeScanner::Impl::close() {
    state = State::done;
    if (whole_checked || rest() == "}\n") return {};
    const std::string other = "{\"nodes\":[]" + std::string(rest());
    JsonReader json(other);
    bool found = false;
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
        if (key == "nodes" && std::exchange(found, true)) json.fail("two lists of nodes");
        json.skip();
    }
    if (!json.finish()) return json.error("end of a tree");
    return {};
}

// Reads the next node into `node`; false at the end. `problem`: well-formed, but not to be used.
Result<bool> TreeScanner::Impl::step(std::string_view& problem) {
    if (state == State::begin) TRY(open());
    if (state == State::done) return false;
    if (is_first || at == end || *at != ',') {
        skip_space();
        if (at != end && *at == ']') {
            ++at;
            TRY(close());
            return false;
        }
        if (!is_first && (at == end || *at != ',')) return corrupt("a comma is missing");
    }
    if (!is_first) ++at;
    is_first = false;
    if (StandardNode::read(rest(), node, name_buffer)) {
        at += node.bytes.size();
        problem = problem_of(node);
    } else {
        TRY(read_unusual(problem));
    }
    return true;
}

Result<> TreeScanner::Impl::read_unusual(std::string_view& problem) {
    skip_space();
    JsonReader json(rest());
    decoded = Node{};
    node = RawNode{};
    if (!read_node(json, decoded, problem)) {
        return json.error("tree: the node at byte " + std::to_string(at - whole.data()));
    }
    const std::string_view bytes(at, json.position());
    at += bytes.size();
    if (problem.empty()) {
        // Written again in the usual encoding it can be seen as views, like the others.
        if (!encoder) encoder.emplace(GoRules::go122, Zone::utc());
        NodeFields fields = fields_of(decoded);
        fields.type_text = "unknown";
        fields.generic_attributes = {};
        fields.error = {};
        canonical.clear();
        encoder->append_node(fields, canonical);
        if (!StandardNode::read(as_text(canonical), node, name_buffer))
            problem = "a node that cannot be read";
    }
    node.name = decoded.name;
    node.mtime_value = decoded.mtime;
    node.ctime_value = decoded.ctime;
    node.bytes = bytes;
    node.head = {};
    return {};
}

std::string_view TreeScanner::Impl::check_order() {
    constexpr std::string_view kTwice = "a name that occurs twice";
    if (!checks_names) return {};
    if (!names) {
        if (!has_last_name || node.name > last_name) return {};
        if (node.name == last_name) return kTwice;
        // From here on every name is kept, as the second of a pair can be anywhere.
        out_of_order = true;
        names = std::make_unique<std::unordered_set<std::string>>();
        TreeScanner again(as_bytes(whole));
        again.impl_->checks_names = false;
        for (;;) {
            const auto earlier = again.next([](const Error&) {});
            if (!earlier.ok() || *earlier == nullptr ||
                (*earlier)->bytes.data() >= node.bytes.data())
                break;
            names->emplace((*earlier)->name);
        }
    }
    return names->emplace(node.name).second ? std::string_view() : kTwice;
}

TreeScanner::TreeScanner(ByteView json) : impl_(std::make_unique<Impl>(as_text(json))) {}
TreeScanner::~TreeScanner() = default;
TreeScanner::TreeScanner(TreeScanner&&) noexcept = default;
TreeScanner& TreeScanner::operator=(TreeScanner&&) noexcept = default;

bool TreeScanner::out_of_order() const {
    return impl_->out_of_order;
}

Result<const RawNode*> TreeScanner::next() {
    return next(nullptr);
}

Result<const RawNode*> TreeScanner::next(const std::function<void(Error error)>& bad) {
    Impl& self = *impl_;
    if (self.failed) return *self.failed;
    for (;;) {
        std::string_view problem;
        auto more = self.step(problem);
        if (!more.ok()) {
            self.failed = std::move(more).error();
            return *self.failed;
        }
        if (!*more) return static_cast<const RawNode*>(nullptr);
        if (problem.empty()) problem = self.check_order();
        if (problem.empty()) break;
        if (!bad) {
            self.failed = self.corrupt(problem);
            return *self.failed;
        }
        bad(self.corrupt(problem));
    }
    self.last_name.assign(self.node.name);
    self.has_last_name = true;
    return static_cast<const RawNode*>(&self.node);
}

Result<Node> TreeScanner::decode() const {
    const RawNode& raw = impl_->node;
    if (raw.head.empty()) return impl_->decoded;
    if (!raw.is_plain) return decode_node(raw.bytes);
    Node node;
    node.name = raw.name;
    node.type = raw.type;
    node.mode = raw.mode;
    node.mtime = raw.mtime();
    node.atime = raw.atime_text == raw.mtime_text
                     ? node.mtime
                     : parse_file_time(raw.atime_text).value_or(node.mtime);
    node.ctime = raw.ctime();
    node.uid = raw.uid;
    node.gid = raw.gid;
    node.user = unescaped_text(raw.user_json);
    node.group = unescaped_text(raw.group_json);
    node.inode = raw.inode;
    node.device_id = raw.device_id;
    node.size = raw.size;
    node.links = raw.links;
    node.link_target = unescaped_text(raw.link_target_json);
    node.device = raw.device;
    node.has_content = raw.has_content;
    node.content.resize(raw.content_count());
    for (std::size_t i = 0; i < node.content.size(); ++i) node.content[i] = raw.content_id(i);
    if (!raw.subtree_hex.empty()) node.subtree = raw.subtree();
    return node;
}

}  // namespace backup
