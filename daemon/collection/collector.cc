#include "daemon/collection/collector.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "common/log.h"
#include "common/pause.h"
#include "daemon/collection/index_rewrite.h"
#include "daemon/collection/reachable.h"
#include "daemon/revisions/editions.h"

namespace backup {

namespace {

// Clocks of hosts differ: a session counts as begun before a mark up to this long after it.
constexpr Duration kClocksDiffer = std::chrono::hours(1);
// A lock is written anew every five minutes: one from further ahead is of a clock that differs by
// more than can be put up with.
constexpr Duration kTooFarAhead = std::chrono::minutes(30);
// Between two looks at the stop request and the lock.
constexpr std::size_t kSweepBatch = 64;

Error stopped() {
    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
}

// Holds copying to a rate.
class Pace {
  public:
    explicit Pace(std::uint64_t bytes_per_second) : rate_(bytes_per_second) {}
    void spend(std::uint64_t bytes, const std::stop_token& stop) {
        if (rate_ == 0) return;
        spent_ += bytes;
        const auto due =
            begun_ + std::chrono::milliseconds(static_cast<std::int64_t>(spent_ * 1000 / rate_));
        pause_for(stop, due - std::chrono::steady_clock::now());
    }

  private:
    const std::uint64_t rate_;
    std::uint64_t spent_ = 0;
    const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

Result<std::vector<RevisionEntry>> readable_revisions(Repository& repository) {
    std::vector<Error> broken;
    std::vector<RevisionEntry> revisions = TRY(repository.list_revisions(&broken));
    if (!broken.empty())
        return std::move(broken.front())
            .during("a revision cannot be read, so nobody knows what it needs")
            .with_code(ErrorCode::repository_damaged);
    return revisions;
}

class Collection {
  public:
    Collection(Repository& repository, DeletingBackend& deleting, const CollectRequest& request,
               Progress& progress, const std::function<void(const std::string&)>& message,
               std::stop_token stop)
        : repository_(repository),
          deleting_(deleting),
          request_(request),
          progress_(progress),
          message_(message),
          stop_(std::move(stop)),
          now_(repository.clock().now()) {}

    Result<CollectResult> run() {
        progress_.phase = Phase::locking;
        if (!request_.dry_run) lock_ = TRY(repository_.lock(LockKind::collect, stop_));
        TRY(compare_clocks());
        progress_.phase = Phase::loading;
        TRY(empty_trash());
        result_.revisions_left = revisions_.size();
        if (revisions_.empty() && result_.revisions_removed == 0 && request_.expects_revisions)
            return Error(ErrorKind::conflict, ErrorCode::repository_unavailable,
                         "the storage lists no revision at all, and some were made: nothing is "
                         "marked or removed (is all of it mounted?)");
        TRY(look());
        result_.before = audit_storage(inventory_);
        plan_ = TRY(plan_collection(inventory_, request_.limits, now_));
        if (request_.dry_run) {
            count_plan();
            return result_;
        }
        if (!plan_.repack.empty()) TRY(repack());
        TRY(mark());
        TRY(sweep());
        progress_.phase = Phase::finishing;
        TRY(repository_.refresh_index(stop_));
        return result_;
    }

  private:
    // Which session began before a mark can be told only by clocks that agree.
    Result<> compare_clocks() {
        for (const FoundLock& lock : TRY(repository_.locks()))
            if (lock.file && lock.file->time > now_ + kTooFarAhead)
                return Error(ErrorKind::conflict, ErrorCode::conflict,
                             "a lock is from the future, so the clocks differ: nothing is marked "
                             "or removed while it is there: " +
                                 describe(*lock.file));
        return {};
    }

    // ---- snapshots

    bool is_due(const RevisionEntry& entry) const {
        const RevisionTags tags = parse_revision_tags(entry.snapshot.tags);
        if (!tags.trashed || tags.is_pinned || *tags.trashed > now_) return false;
        return request_.own_sets.contains({tags.set, entry.snapshot.hostname}) &&
               now_ - *tags.trashed >= request_.trash;
    }

    Result<> empty_trash() {
        std::vector<RevisionEntry> all = TRY(readable_revisions(repository_));
        std::set<RevisionId> doomed;
        for (const RevisionEntry& entry : superseded_revisions(all)) doomed.insert(entry.id);
        for (const RevisionEntry& entry : all)
            if (is_due(entry)) doomed.insert(entry.id);
        result_.revisions_removed = doomed.size();
        if (request_.dry_run) {
            std::erase_if(all,
                          [&](const RevisionEntry& entry) { return doomed.contains(entry.id); });
            revisions_ = std::move(all);
            return {};
        }
        if (!doomed.empty() && doomed.size() == all.size() && request_.emptying)
            TRY(request_.emptying());
        if (!doomed.empty()) TRY(remove_snapshots(doomed));
        // As they are now, not as they should be.
        revisions_ = TRY(readable_revisions(repository_));
        return {};
    }

    // Alone in the eyes of programs that know nothing of the trash: they list snapshots and read
    // them one by one.
    Result<> remove_snapshots(const std::set<RevisionId>& doomed) {
        Result<std::unique_ptr<RepositoryLock>> alone = repository_.lock(LockKind::unlist, stop_);
        if (!alone.ok()) {
            if (alone.error().code() != ErrorCode::repository_locked)
                return std::move(alone).error();
            result_.revisions_removed = 0;
            result_.waits_for = alone.error().message();
            message_("the trash stays for now: " + alone.error().message());
            return {};
        }
        for (const RevisionId& id : doomed) {
            TRY(keep_lock());
            TRY_DURING(deleting_.remove({FileType::snapshot, id_cast<FileId>(id)}),
                       "remove revision " + id.short_hex());
        }
        message_("removed " + std::to_string(doomed.size()) + " snapshots of the trash");
        return {};
    }

    // ---- what there is, and what is needed

    Result<> look() {
        std::vector<KeptData> kept;
        if (request_.kept) kept = TRY(request_.kept());
        TRY(repository_.refresh_index(stop_));
        inventory_ = TRY(Inventory::read(repository_, stop_));
        progress_.phase = Phase::scanning;
        for (const RevisionEntry& entry : revisions_) walked_.insert(entry.id);
        TRY(mark_reachable(repository_, revisions_, inventory_, {.may_be_newer = true}, progress_,
                           stop_));
        TRY(mark_kept(repository_, kept, inventory_, progress_, stop_));
        inventory_.settle();
        return {};
    }

    void count_plan() {
        auto bytes = [&](const std::vector<std::uint32_t>& list, std::uint64_t PackFacts::*size) {
            std::uint64_t sum = 0;
            for (std::uint32_t at : list) sum += inventory_.packs[at].*size;
            return sum;
        };
        result_.packs_marked = plan_.mark.size() + plan_.repack.size();
        result_.bytes_marked =
            bytes(plan_.mark, &PackFacts::file_size) + bytes(plan_.repack, &PackFacts::file_size);
        result_.packs_recovered = plan_.unmark.size();
        result_.packs_copied = plan_.repack.size();
        result_.bytes_copied = bytes(plan_.repack, &PackFacts::used_bytes);
        result_.packs_removed = plan_.sweep.size();
        result_.bytes_removed = bytes(plan_.sweep, &PackFacts::file_size);
    }

    // ---- copying what is needed of packs that are mostly garbage

    Result<> repack() {
        progress_.phase = Phase::reading;
        std::vector<bool> wanted(inventory_.packs.size());
        std::vector<PackId> avoided;
        for (std::uint32_t at : plan_.repack) {
            wanted[at] = true;
            avoided.push_back(inventory_.packs[at].id);
            progress_.bytes_total += inventory_.packs[at].used_bytes;
        }
        // For sessions of this process only, and only until the copies are in the index: to others
        // nothing has happened yet.
        repository_.avoid_packs(avoided);
        Result<> copied = copy(inventory_.chosen_in(wanted));
        if (!copied.ok()) {
            repository_.avoid_packs({});
            plan_.repack.clear();
            if (copied.error().kind() != ErrorKind::no_space) return copied;
            message_("no room to copy what is needed of packs with garbage: only whole packs go");
        }
        return {};
    }

    Result<> copy(const std::map<std::uint32_t, std::vector<Inventory::Chosen>>& by_pack) {
        std::unique_ptr<WriteSession> session = TRY(repository_.start_write(request_.write, stop_));
        Pace pace(request_.bytes_per_second);
        for (const auto& [at, blobs] : by_pack) {
            if (stop_.stop_requested()) return stopped();
            std::vector<BlobSource::Wanted> wanted;
            for (const Inventory::Chosen& blob : blobs)
                wanted.push_back({blob.handle, blob.location});
            TRY(repository_.blobs().load_from_pack(
                inventory_.packs[at].id, wanted,
                [&](std::size_t index, Result<ByteView> plaintext) -> Result<> {
                    if (!plaintext.ok()) return std::move(plaintext).error();
                    Result<SavedBlob> saved = session->save(wanted[index].handle.type, *plaintext);
                    if (!saved.ok()) return std::move(saved).error();
                    return {};
                }));
            ++result_.packs_copied;
            result_.bytes_copied += inventory_.packs[at].used_bytes;
            progress_.bytes_done += inventory_.packs[at].used_bytes;
            pace.spend(inventory_.packs[at].used_bytes, stop_);
        }
        return session->checkpoint();
    }

    // ---- phase one

    Result<> mark() {
        std::map<PackId, PackMark> marks;
        for (const PackFacts& facts : inventory_.packs)
            if (facts.mark && facts.file_size != 0) marks[facts.id] = *facts.mark;
        const std::map<PackId, PackMark> before = marks;
        auto set = [&](std::uint32_t at) {
            const PackFacts& facts = inventory_.packs[at];
            marks[facts.id] = {now_, facts.file_size, !facts.is_listed};
            ++result_.packs_marked;
            result_.bytes_marked += facts.file_size;
        };
        for (std::uint32_t at : plan_.unmark) {
            marks.erase(inventory_.packs[at].id);
            ++result_.packs_recovered;
        }
        for (std::uint32_t at : plan_.mark) set(at);
        // After those that are needed again: what is needed of these was copied just now.
        for (std::uint32_t at : plan_.repack) set(at);
        // Without files they are not worth a mark.
        const bool lost_some = std::ranges::any_of(inventory_.packs, [](const PackFacts& facts) {
            return facts.mark && facts.file_size == 0;
        });
        if (marks != before || lost_some) marks_ = std::move(marks);
        return {};
    }

    // ---- phase two

    // Packs whose time has come. Not those on which a session may rely that began before the mark.
    Result<std::vector<std::uint32_t>> due_packs() {
        Timestamp oldest = Timestamp::max();
        std::string holder;
        for (const FoundLock& lock : TRY(repository_.locks())) {
            if (!lock.file || kind_of(*lock.file) != LockKind::shared) continue;
            const Timestamp begin = lock.file->begin.value_or(lock.file->time);
            if (begin >= oldest) continue;
            oldest = begin;
            holder = describe(*lock.file);
        }
        std::vector<std::uint32_t> due;
        for (std::uint32_t at : plan_.sweep) {
            if (oldest != Timestamp::max() &&
                oldest <= inventory_.packs[at].mark->time + kClocksDiffer) {
                ++result_.packs_waiting;
                result_.waits_for = holder;
            } else {
                due.push_back(at);
            }
        }
        return due;
    }

    Result<> sweep() {
        progress_.phase = Phase::committing;
        std::vector<std::uint32_t> due = TRY(due_packs());
        IndexChange change;
        if (TRY(is_foreign_writer_there())) {
            // It may have listed the index files: all of them stay until it is done.
            if (!due.empty())
                message_("what is due stays for now: " + result_.waits_for + " is writing");
            result_.packs_waiting += due.size();
            due.clear();
            plan_.drop.clear();
            plan_.relist.clear();
            if (!marks_) return {};
            change.only_marks = true;
        }
        for (std::uint32_t at : due) change.without.insert(inventory_.packs[at].id);
        for (std::uint32_t at : plan_.drop) change.without.insert(inventory_.packs[at].id);
        for (std::uint32_t at : plan_.relist) change.relist.insert(inventory_.packs[at].id);
        if (!due.empty() || marks_) {
            std::map<PackId, PackMark> marks;
            if (marks_) {
                marks = std::move(*marks_);
            } else {
                for (const PackFacts& facts : inventory_.packs)
                    if (facts.mark && facts.file_size != 0) marks[facts.id] = *facts.mark;
            }
            // Those that go keep their marks until they are gone, and in the same words: a session
            // that loads the index in the midst of the change must find them marked. A crash
            // leaves them to the next run, which then need not wait once more.
            change.marks = std::move(marks);
        }
        TRY(keep_lock());
        IndexRewrite rewritten = TRY(rewrite_index(repository_, inventory_, change, stop_));
        if (!TRY(unlist(rewritten, due))) {
            // Old and new ones stay: whoever began meanwhile may have listed either, and would fail
            // without it. The next run puts them together.
            result_.packs_waiting += due.size();
            return {};
        }
        return remove_packs(due);
    }

    // Whoever knows nothing of marks and writes: not waited for, and nothing written in vain.
    Result<bool> is_foreign_writer_there() {
        const std::vector<FoundLock> locks = TRY(repository_.locks());
        const LockFile* writer = foreign_writer(locks);
        if (writer != nullptr) result_.waits_for = describe(*writer);
        return writer != nullptr;
    }

    // False: somebody writes who knows nothing of marks; all stays as it is.
    Result<bool> unlist(const IndexRewrite& rewritten, const std::vector<std::uint32_t>& due) {
        if (rewritten.obsolete.empty() && due.empty()) return true;
        Result<std::unique_ptr<RepositoryLock>> alone = repository_.lock(LockKind::unlist, stop_);
        if (!alone.ok()) {
            if (alone.error().code() != ErrorCode::repository_locked)
                return std::move(alone).error();
            result_.waits_for = alone.error().message();
            message_("what is due stays for now: " + alone.error().message());
            return false;
        }
        // What became known since the inventory counts, too: packs that no index named then, and
        // what was committed since the walk.
        if (!due.empty()) TRY(repository_.refresh_index(stop_));
        for (std::uint32_t at : due) {
            const PackFacts& facts = inventory_.packs[at];
            if (facts.is_listed || !repository_.is_indexed(facts.id)) continue;
            message_("a run found pack " + facts.id.short_hex() +
                     " again that was to go: all of it stays");
            return false;
        }
        std::vector<RevisionEntry> newer = TRY(readable_revisions(repository_));
        std::erase_if(newer,
                      [&](const RevisionEntry& entry) { return walked_.contains(entry.id); });
        if (!newer.empty()) {
            TRY(repository_.refresh_index(stop_));
            TRY(mark_reachable(repository_, newer, inventory_, {.may_be_newer = true}, progress_,
                               stop_));
            inventory_.settle();
            for (std::uint32_t at : due) {
                if (!inventory_.packs[at].is_needed()) continue;
                message_("a revision made meanwhile needs what was to go: all of it stays");
                return false;
            }
        }
        if (TRY(lock_->verify(stop_)) == RepositoryLock::State::lost)
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "our lock was removed: nothing more is removed in this run");
        for (const IndexId& id : rewritten.obsolete) {
            TRY_DURING(deleting_.remove({FileType::index, id_cast<FileId>(id)}),
                       "remove index " + id.short_hex());
            ++result_.index_files_removed;
        }
        return true;
    }

    Result<> remove_packs(const std::vector<std::uint32_t>& due) {
        progress_.items_total = progress_.items_done + due.size();
        for (std::size_t i = 0; i < due.size(); ++i) {
            if (i % kSweepBatch == 0) TRY(keep_lock());
            const PackFacts& facts = inventory_.packs[due[i]];
            TRY_DURING(deleting_.remove({FileType::pack, id_cast<FileId>(facts.id)}),
                       "remove pack " + facts.id.short_hex());
            ++result_.packs_removed;
            result_.bytes_removed += facts.file_size;
            progress_.items_done += 1;
        }
        return {};
    }

    Result<> keep_lock() {
        if (stop_.stop_requested()) return stopped();
        if (TRY(lock_->verify(stop_)) == RepositoryLock::State::lost)
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "our lock was removed: another program may have changed the repository; "
                         "the next run begins anew");
        return {};
    }

    Repository& repository_;
    DeletingBackend& deleting_;
    const CollectRequest& request_;
    Progress& progress_;
    const std::function<void(const std::string&)>& message_;
    const std::stop_token stop_;
    const Timestamp now_;

    std::unique_ptr<RepositoryLock> lock_;
    std::vector<RevisionEntry> revisions_;
    std::set<RevisionId> walked_;
    Inventory inventory_;
    CollectionPlan plan_;
    std::optional<std::map<PackId, PackMark>> marks_;
    CollectResult result_;
};

}  // namespace

Result<CollectResult> collect(Repository& repository, DeletingBackend& deleting,
                              const CollectRequest& request, Progress& progress,
                              const std::function<void(const std::string&)>& message,
                              std::stop_token stop) {
    Collection collection(repository, deleting, request, progress, message, std::move(stop));
    Result<CollectResult> result = collection.run();
    // Whatever came of it, nothing is avoided that is not marked.
    repository.avoid_packs({});
    return result;
}

Result<StorageAudit> audit(Repository& repository, Progress& progress, std::stop_token stop,
                           const std::vector<KeptData>& kept) {
    progress.phase = Phase::loading;
    const std::vector<RevisionEntry> revisions = TRY(readable_revisions(repository));
    TRY(repository.refresh_index(stop));
    Inventory inventory = TRY(Inventory::read(repository, stop));
    progress.phase = Phase::scanning;
    TRY(mark_reachable(repository, revisions, inventory, {.may_be_newer = true}, progress, stop));
    TRY(mark_kept(repository, kept, inventory, progress, stop));
    inventory.settle();
    return audit_storage(inventory);
}

}  // namespace backup
