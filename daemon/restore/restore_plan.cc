#include "daemon/restore/restore_plan.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>

namespace backup {

TextRef RestoreBatch::add_text(std::string_view text) {
    TextRef ref{static_cast<std::uint32_t>(text_.size()), static_cast<std::uint32_t>(text.size())};
    text_.append(text);
    return ref;
}

PlanMetadata RestoreBatch::add_metadata(const Node& node) {
    PlanMetadata metadata;
    metadata.mode = node.unix_mode() & 07777;
    metadata.uid = node.uid;
    metadata.gid = node.gid;
    metadata.mtime = node.mtime;
    metadata.atime = node.atime;
    metadata.first_attribute = static_cast<std::uint32_t>(attributes.size());
    metadata.attribute_count = static_cast<std::uint32_t>(node.extended_attributes.size());
    for (const ExtendedAttribute& attribute : node.extended_attributes)
        attributes.push_back({add_text(attribute.name), add_text(as_text(attribute.value))});
    return metadata;
}

PlanObject& RestoreBatch::add_object(DirectoryIndex parent, const Node& node) {
    PlanObject object;
    object.type = node.type;
    object.parent = parent;
    object.name = add_text(node.name);
    object.metadata = add_metadata(node);
    object.device = node.device;
    if (node.type == NodeType::symlink) object.link_target = add_text(node.link_target);
    if (node.type == NodeType::file) {
        object.size = node.size;
        object.first_blob = static_cast<std::uint32_t>(blobs.size());
        object.blob_count = static_cast<std::uint32_t>(node.content.size());
        blobs.insert(blobs.end(), node.content.begin(), node.content.end());
        content_bytes += node.size;
    }
    return objects.emplace_back(object);
}

bool RestoreBatch::is_full(const BatchLimits& limits) const {
    return objects.size() + enters.size() + leaves.size() >= limits.objects ||
           blobs.size() >= limits.blobs || text_.size() >= limits.text_bytes ||
           content_bytes >= limits.content_bytes;
}

namespace {

// Adds the pieces of one object; false (and nothing added) when its content cannot be had.
bool add_pieces(const RestoreBatch& batch, std::uint32_t index, const LocateBlob& locate,
                const std::function<bool(std::uint32_t, std::uint32_t)>& has,
                std::unordered_map<PackId, std::uint32_t>& pack_numbers, ContentPlan& plan) {
    const PlanObject& object = batch.objects[index];
    const std::size_t before = plan.pieces.size();
    std::uint64_t offset = 0;
    for (std::uint32_t blob = object.first_blob; blob < object.first_blob + object.blob_count;
         ++blob) {
        const std::optional<BlobLocation> location = locate({BlobType::data, batch.blobs[blob]});
        if (!location) {
            plan.pieces.resize(before);
            plan.refused.push_back({index, batch.blobs[blob]});
            return false;
        }
        auto [at, is_new] =
            pack_numbers.try_emplace(location->pack, static_cast<std::uint32_t>(plan.packs.size()));
        if (is_new) plan.packs.push_back(location->pack);
        if (!has || !has(index, blob))
            plan.pieces.push_back({offset, index, blob, at->second, location->offset,
                                   location->length, location->uncompressed_length});
        plan.blob_lengths[blob] = location->plain_length();
        offset += location->plain_length();
    }
    if (offset != object.size) {
        plan.pieces.resize(before);
        plan.refused.push_back({index, std::nullopt});
        return false;
    }
    return true;
}

bool is_same_blob(const Piece& a, const Piece& b) {
    return a.pack == b.pack && a.offset == b.offset && a.length == b.length;
}

// Cuts the sorted pieces into runs; never between two places of one blob, so that each is read
// once.
void cut_runs(ContentPlan& plan, std::uint64_t run_bytes) {
    std::uint64_t bytes = 0;
    for (std::uint32_t i = 0; i < plan.pieces.size(); ++i) {
        const Piece& piece = plan.pieces[i];
        const bool is_new = i == 0 || !is_same_blob(plan.pieces[i - 1], piece);
        if (is_new) {
            const bool fits = !plan.runs.empty() && plan.runs.back().pack == piece.pack &&
                              bytes + piece.length <= run_bytes;
            if (!fits) {
                plan.runs.push_back({piece.pack, i, 0, 0});
                bytes = 0;
            }
            bytes += piece.length;
            plan.bytes_to_fetch += piece.length;
            ++plan.runs.back().blobs;
        }
        ++plan.runs.back().count;
    }
}

}  // namespace

ContentPlan plan_content(const RestoreBatch& batch, const std::vector<bool>& wanted,
                         const LocateBlob& locate, std::uint64_t run_bytes,
                         const std::function<bool(std::uint32_t, std::uint32_t)>& has) {
    ContentPlan plan;
    plan.blob_lengths.resize(batch.blobs.size());
    std::unordered_map<PackId, std::uint32_t> pack_numbers;
    for (std::uint32_t i = 0; i < batch.objects.size(); ++i)
        if (wanted[i]) add_pieces(batch, i, locate, has, pack_numbers, plan);
    std::ranges::sort(plan.pieces, [](const Piece& a, const Piece& b) {
        return std::tie(a.pack, a.offset, a.length, a.object, a.file_offset) <
               std::tie(b.pack, b.offset, b.length, b.object, b.file_offset);
    });
    cut_runs(plan, run_bytes);
    return plan;
}

namespace {

// FNV-1a, 64 bit: tells apart what lies in one directory; who goes on with something checks it.
struct Mark {
    std::uint64_t hash = 0xcbf29ce484222325;
    void take(std::string_view text) {
        for (unsigned char byte : text) hash = (hash ^ byte) * 0x100000001b3;
    }
    void take(const BlobId& id) {
        std::uint64_t part = 0;
        __builtin_memcpy(&part, id.bytes.data(), sizeof part);
        hash = (hash ^ part) * 0x100000001b3;
    }
    // 0 is none.
    std::uint64_t value() const { return hash == 0 ? 1 : hash; }
};

}  // namespace

std::uint64_t content_mark(const RestoreBatch& batch, const PlanObject& object) {
    Mark mark;
    mark.take(batch.text(object.name));
    for (std::uint32_t i = object.first_blob; i < object.first_blob + object.blob_count; ++i)
        mark.take(batch.blobs[i]);
    return mark.value();
}

std::uint64_t content_mark(std::string_view name, const BlobId& tree) {
    Mark mark;
    mark.take(name);
    mark.take(tree);
    return mark.value();
}

const char* problem_with_name(std::string_view name) {
    if (name.empty()) return "the name is empty";
    if (name == "." || name == "..") return "the name is \".\" or \"..\"";
    if (name.find('/') != name.npos) return "the name contains '/'";
    if (name.find('\0') != name.npos) return "the name contains a NUL byte";
    if (name.size() > 255) return "the name is longer than 255 bytes";
    return nullptr;
}

}  // namespace backup
