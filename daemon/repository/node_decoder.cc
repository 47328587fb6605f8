#include "daemon/repository/node_decoder.h"

#include <array>

#include "common/bytes.h"
#include "daemon/repository/node_text.h"
#include "daemon/repository/zone.h"

namespace backup {

namespace {

enum class Field : std::uint8_t {
    name,
    type,
    mode,
    mtime,
    atime,
    ctime,
    uid,
    gid,
    user,
    group,
    inode,
    device_id,
    size,
    links,
    linktarget,
    linktarget_raw,
    extended_attributes,
    generic_attributes,
    device,
    content,
    subtree,
    error,
    other,
};
constexpr std::array<std::string_view, 22> kFieldNames = {"name",
                                                          "type",
                                                          "mode",
                                                          "mtime",
                                                          "atime",
                                                          "ctime",
                                                          "uid",
                                                          "gid",
                                                          "user",
                                                          "group",
                                                          "inode",
                                                          "device_id",
                                                          "size",
                                                          "links",
                                                          "linktarget",
                                                          "linktarget_raw",
                                                          "extended_attributes",
                                                          "generic_attributes",
                                                          "device",
                                                          "content",
                                                          "subtree",
                                                          "error"};

Field field_of(std::string_view key) {
    for (std::size_t i = 0; i < kFieldNames.size(); ++i) {
        if (kFieldNames[i] == key) return static_cast<Field>(i);
    }
    return Field::other;
}

struct NodeReader {
    JsonReader& json;
    Node& node;
    std::string_view& problem;
    bool has_raw_target = false;
    std::string_view text;

    void complain(std::string_view what) {
        if (problem.empty()) problem = what;
    }

    void time(FileTime& out) {
        if (!json.read_text(text)) return;
        if (const auto time = parse_file_time(text)) {
            out = *time;
        } else {
            complain("a node with an unreadable time");
        }
    }

    BlobId id() {
        if (!json.read_text(text)) return {};
        const auto id = BlobId::from_hex(text);
        if (!id) {
            complain("a node with an unreadable id");
        } else if (id->is_null()) {
            complain("a node with an all-zero id");
        }
        return id.value_or(BlobId{});
    }

    Bytes base64() {
        if (!json.read_text(text)) return {};
        auto bytes = from_base64(text);
        if (!bytes) complain("a node with unreadable base64");
        return bytes ? std::move(*bytes) : Bytes{};
    }

    void extended_attributes() {
        json.begin_array();
        while (json.next_element()) {
            ExtendedAttribute attribute;
            json.begin_object();
            for (std::string_view key; json.next_key(key);) {
                const bool is_name = key == "name";
                const bool is_value = key == "value";
                if (json.peek() == JsonReader::Kind::null || (!is_name && !is_value)) {
                    json.skip();
                } else if (is_name) {
                    json.read(attribute.name);
                } else {
                    attribute.value = base64();
                }
            }
            node.extended_attributes.push_back(std::move(attribute));
        }
    }

    void content() {
        node.has_content = true;
        json.begin_array();
        while (json.next_element()) node.content.push_back(id());
    }

    void generic_attributes() {
        json.peek();  // steps over white space
        const std::size_t from = json.position();
        if (json.skip()) node.generic_attributes = json.raw(from, json.position());
    }

    void read(Field field) {
        switch (field) {
            case Field::name:
                if (!json.read_text(text)) return;
                if (!append_unquoted(node.name, text)) complain("a name with bad quoting");
                return;
            case Field::type:
                if (!json.read_text(text)) return;
                node.type = node_type_of(text);
                if (node.type == NodeType::unknown) node.type_text = text;
                return;
            case Field::mode:
                json.read(node.mode);
                return;
            case Field::mtime:
                return time(node.mtime);
            case Field::atime:
                return time(node.atime);
            case Field::ctime:
                return time(node.ctime);
            case Field::uid:
                json.read(node.uid);
                return;
            case Field::gid:
                json.read(node.gid);
                return;
            case Field::user:
                json.read(node.user);
                return;
            case Field::group:
                json.read(node.group);
                return;
            case Field::inode:
                json.read(node.inode);
                return;
            case Field::device_id:
                json.read(node.device_id);
                return;
            case Field::size:
                json.read(node.size);
                return;
            case Field::links:
                json.read(node.links);
                return;
            case Field::linktarget:
                if (!json.read_text(text)) return;
                if (!has_raw_target) node.link_target = text;
                return;
            case Field::linktarget_raw: {
                const Bytes raw = base64();
                node.link_target = as_text(raw);
                has_raw_target = true;
                return;
            }
            case Field::extended_attributes:
                return extended_attributes();
            case Field::generic_attributes:
                return generic_attributes();
            case Field::device:
                json.read(node.device);
                return;
            case Field::content:
                return content();
            case Field::subtree:
                node.subtree = id();
                return;
            case Field::error:
                json.read(node.error);
                return;
            case Field::other:
                json.skip();
                return;
        }
    }
};

}  // namespace

NodeType node_type_of(std::string_view text) {
    if (text == "file") return NodeType::file;
    if (text == "dir") return NodeType::dir;
    if (text == "symlink") return NodeType::symlink;
    if (text == "dev") return NodeType::dev;
    if (text == "chardev") return NodeType::chardev;
    if (text == "fifo") return NodeType::fifo;
    if (text == "socket") return NodeType::socket;
    if (text == "irregular") return NodeType::irregular;
    return NodeType::unknown;
}

bool read_node(JsonReader& json, Node& node, std::string_view& problem) {
    NodeReader reader{json, node, problem};
    std::uint32_t seen = 0;
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
        const Field field = field_of(key);
        const std::uint32_t bit = std::uint32_t{1} << static_cast<unsigned>(field);
        if (field != Field::other && (seen & bit) != 0)
            return json.fail("a node has a field twice");
        seen |= bit;
        if (json.peek() == JsonReader::Kind::null) {
            json.skip();  // Go leaves the field as it is
        } else {
            reader.read(field);
        }
    }
    if (!json.ok()) return false;
    if (problem.empty()) problem = node_problem(node);
    return true;
}

std::string_view node_problem(const Node& node) {
    if (const auto problem = name_problem(node.name); !problem.empty()) return problem;
    if (node.type == NodeType::dir && !node.subtree) return "a directory without subtree";
    if (node.type == NodeType::file && !node.has_content && node.size != 0)
        return "a file without content";
    return {};
}

Result<Node> decode_node(std::string_view text) {
    JsonReader json(text);
    Node node;
    std::string_view problem;
    read_node(json, node, problem);
    if (!json.finish()) return json.error("a node of a tree");
    if (!problem.empty()) return Error(ErrorKind::corrupt, std::string(problem));
    return node;
}

}  // namespace backup
