// Trees: the scanner and the general decoder must agree, and what is read must survive writing and
// reading.
#include <cstdio>
#include <cstdlib>

#include "daemon/repository/node_decoder.h"
#include "daemon/repository/tree.h"
#include "daemon/repository/tree_encoder.h"
#include "daemon/repository/tree_scanner.h"

using namespace backup;

namespace {

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", what);
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteView json(data, size);
    std::vector<Node> nodes;
    TreeScanner scanner(json);
    bool failed = false;
    for (;;) {
        const auto next = scanner.next();
        if (!next.ok()) {
            require(next.error().kind() == ErrorKind::corrupt, "an error of a tree is corrupt");
            failed = true;
            break;
        }
        if (*next == nullptr) break;
        const RawNode& raw = **next;
        const auto quick = scanner.decode();
        const auto general = decode_node(raw.bytes);
        require(quick.ok() && general.ok(), "what the scanner accepts can be decoded");
        require(*quick == *general, "scanner and decoder agree");
        require(raw.name == quick->name && raw.type == quick->type,
                "the view has the node's name and type");
        require(raw.content_count() == quick->content.size(), "the view has the node's content");
        require(raw.has_content == quick->has_content, "the view knows null from a list");
        for (std::size_t i = 0; i < raw.content_count(); ++i) {
            require(raw.content_id(i) == quick->content[i], "the view has the node's ids");
        }
        nodes.push_back(*quick);
    }
    const auto decoded = decode_tree(json);
    require(decoded.ok() == !failed, "decode_tree accepts what the scanner accepts");
    std::size_t kept = 0;
    const auto lenient = visit_tree(
        json,
        [&](Node&) -> Result<> {
            ++kept;
            return {};
        },
        [](const Error&) {});
    require(kept >= nodes.size(), "leaving out bad nodes loses no good one");
    if (failed) return 0;
    require(lenient.ok(), "a good tree is good for the lenient visit");

    TreeEncoder encoder(size % 2 == 0 ? GoRules::go119 : GoRules::go122, Zone::utc());
    const auto written = encode_tree(nodes, encoder);
    require(written.ok(), "names are unique");
    const auto again = decode_tree(*written);
    require(again.ok() && again->size() == nodes.size(), "what was written can be read");
    for (const Node& node : *again) {
        const Node* before = nullptr;
        for (const Node& candidate : nodes) {
            if (candidate.name == node.name) before = &candidate;
        }
        require(before != nullptr, "the name comes back");
        Node expected = *before;
        // Times that need a fifth digit in UTC are moved into the years 0 to 9999; text is made
        // UTF-8.
        expected.mtime = node.mtime;
        expected.atime = node.atime;
        expected.ctime = node.ctime;
        require(node == expected, "the node comes back");
    }
    return 0;
}
