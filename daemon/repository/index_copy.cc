// IndexLoader and the local copy of the index: when it is used, and when it is written.
#include <algorithm>

#include <unistd.h>

#include "common/log.h"
#include "daemon/repository/index_loader.h"

namespace backup {

namespace {

// Fewer blobs than this are not worth a file.
constexpr std::uint64_t kLeastEntries = 4096;
// So much may stay in memory between runs: 3.6 MB at least, 14 MB at most.
constexpr std::uint64_t kLeastIdle = 65'536, kMostIdle = 262'144;
// And while a session writes, where each move costs a session time: 14 to 58 MB.
constexpr std::uint64_t kLeastBusy = 262'144, kMostBusy = 1'048'576;
// Each of them is a file to read at the next start.
constexpr std::size_t kMostNewerFiles = 256;

}  // namespace

// With refresh_mutex_ held, before anything was loaded.
void IndexLoader::open_copy() {
    if (copy_was_tried_ || copy_.path.empty()) return;
    copy_was_tried_ = true;
    Result<IndexTable::Opened> opened = IndexTable::open(copy_.path, copy_.repository_id);
    if (!opened.ok()) {
        if (opened.error().kind() == ErrorKind::not_found) return;
        log_notice(opened.error().message() + ": made anew from the repository");
        unlink(copy_.path.c_str());
        return;
    }
    std::lock_guard lock(mutex_);
    if (!files_.empty() || !index_.begin_with(*opened)) return;
    for (const IndexTable::Pack& pack : opened->directory.packs)
        listed_.push_back(pack.listed == 0 ? 0 : pack.listed - 1);
    for (IndexTable::Source& source : opened->directory.sources)
        files_[source.id] = {true, std::move(source.packs), {}};
    files_in_copy_ = files_.size();
}

bool IndexLoader::is_spill_due(bool busy) {
    const BlobIndex::Weight weight = index_.weight();
    if (copy_.always) return weight.in_memory + weight.gone > 0;
    if (busy) return weight.in_memory >= std::clamp(weight.in_table / 4, kLeastBusy, kMostBusy);
    if (weight.in_table + weight.in_memory < kLeastEntries) return false;
    if (weight.in_table == 0) return true;
    std::lock_guard lock(mutex_);
    return weight.in_memory >= std::clamp(weight.in_table / 8, kLeastIdle, kMostIdle) ||
           weight.gone > weight.in_table / 8 || files_.size() > files_in_copy_ + kMostNewerFiles;
}

void IndexLoader::spill(bool busy) {
    if (copy_.path.empty()) return;
    std::unique_lock refresh_lock(refresh_mutex_, std::defer_lock);
    // A session does not wait for it: the next index file asks again.
    if (busy ? !refresh_lock.try_lock() : (refresh_lock.lock(), false)) return;
    if (!is_spill_due(busy)) return;
    Result<> written = write_copy();
    if (!written.ok() && !std::exchange(copy_failed_, true))
        log_warning("the index stays in memory: " + written.error().message());
    if (written.ok()) copy_failed_ = false;
}

Result<> IndexLoader::write_copy() {
    // What is named first and collected afterwards is complete: a file that a session stores in
    // between is not named, and its packs are not listed.
    IndexTable::Directory directory;
    std::vector<std::uint32_t> blobs_of;
    {
        std::lock_guard lock(mutex_);
        // Which index file is right about a pack turns out when one of them vanishes; until then
        // all are loaded at each start. Rare: a repair begun and not ended.
        if (!disputed_.empty()) return {};
        for (const auto& [id, file] : files_)
            if (file.is_loaded && file.marked_packs.empty())
                directory.sources.push_back({id, file.packs});
        blobs_of = listed_;
    }
    directory.packs = index_.packs();
    std::vector<bool> listed(directory.packs.size());
    for (const IndexTable::Source& source : directory.sources)
        for (PackNumber pack : source.packs) listed[pack] = true;
    for (std::size_t i = 0; i < listed.size(); ++i) {
        if (listed[i]) directory.packs[i].listed = 1 + (i < blobs_of.size() ? blobs_of[i] : 0);
    }
    const BlobIndex::Weight weight = index_.weight();
    auto writer = TRY(IndexTableWriter::create(copy_.path, copy_.repository_id,
                                               weight.in_memory + weight.in_table));
    TRY(index_.write_to(*writer, listed));
    auto table = TRY(writer->finish(directory));
    index_.use_table(table, listed);
    files_in_copy_ = directory.sources.size();
    return {};
}

}  // namespace backup
