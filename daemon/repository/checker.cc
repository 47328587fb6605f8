#include "daemon/repository/checker.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <thread>

#include "daemon/repository/check_run.h"
#include "daemon/repository/config_codec.h"

namespace backup {

namespace {

constexpr std::size_t kMostFindings = 10'000;
constexpr unsigned kMostLooks = 5;

std::string object_name(const char* kind, const auto& id) {
    return std::string(kind) + " " + id.hex();
}

class Check {
  public:
    Check(Repository& repository, const CheckRequest& request, Progress& progress,
          std::stop_token stop)
        : repository_(repository), request_(request), progress_(progress), stop_(std::move(stop)) {}

    Result<CheckResult> run() {
        for (unsigned look = 1;; ++look) {
            TRY(look_once());
            // No lock is held: another program may have removed what was about to be looked at.
            // What is wrong is wrong only in a repository that stood still, or every time.
            if (!report_.has_errors() || look == kMostLooks || !TRY(has_changed())) break;
            start_anew();
        }
        progress_.phase = Phase::finishing;
        TRY(report_.finish(result_));
        tell_damage();
        return std::move(result_);
    }

  private:
    Result<> look_once() {
        progress_.phase = Phase::loading;
        TRY(check_config());
        TRY(check_keys());
        TRY(load_revisions());  // before the index: what a revision names was indexed before it
        TRY(load_index());
        TRY(compare_packs());
        progress_.phase = Phase::verifying;
        TRY(check_data());
        TRY(find_lost_blobs());
        TreeCheck trees(repository_, damaged_, report_, progress_, stop_);
        trees.run(revisions_, threads());
        result_.trees = trees.trees();
        return still_wanted();
    }

    // So that no run relies on it any more. Not before the last look: the others may have seen what
    // was being removed.
    void tell_damage() {
        DamageBook& book = repository_.damage();
        book.forget({read_well_.begin(), read_well_.end()});
        for (const auto& [id, pack] : packs_)
            if (!pack.is_good) bad_copies_.push_back({id, std::nullopt});
        book.add(bad_copies_);
    }

    // Since the look began: snapshots or index files came or went.
    Result<bool> has_changed() {
        return TRY(names_of(FileType::snapshot)) != snapshot_names_ ||
               TRY(names_of(FileType::index)) != index_names_;
    }

    // Packs that were read and found good are not read again.
    void start_anew() {
        report_.start_anew();
        CheckResult before = std::exchange(result_, {});
        result_.packs_read = before.packs_read;
        result_.bytes_read = before.bytes_read;
        result_.blobs_checked = before.blobs_checked;
        is_first_look_ = false;
        revisions_.clear();
        packs_.clear();
        marked_.clear();
        suspects_.clear();
        bad_copies_.clear();
        damaged_.clear();
    }

    Result<std::vector<FileId>> names_of(FileType type) {
        std::vector<FileId> names;
        TRY(repository_.backend().list(type,
                                       [&](const FileInfo& info) { names.push_back(info.id); }));
        std::ranges::sort(names);
        return names;
    }

    Result<> still_wanted() const {
        if (stop_.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "check stopped");
        return {};
    }
    unsigned threads() const {
        return request_.threads != 0 ? request_.threads
                                     : std::clamp(std::thread::hardware_concurrency(), 1U, 16U);
    }

    // Opened long ago, perhaps; damaged since?
    Result<> check_config() {
        Result<Bytes> sealed = repository_.backend().get({FileType::config, {}});
        if (!sealed.ok()) {
            if (!is_damage(sealed.error())) return std::move(sealed).error();
            report_.error("config", sealed.error().message());
            return {};
        }
        Result<Bytes> json = repository_.unseal(*sealed);
        if (!json.ok()) {
            report_.error("config", json.error().message());
            return {};
        }
        Result<RepositoryConfig> config = decode_config(*json);
        if (!config.ok()) report_.error("config", config.error().message());
        return {};
    }

    Result<> check_keys() {
        std::vector<FileId> ids;
        TRY(repository_.backend().list(FileType::key,
                                       [&](const FileInfo& info) { ids.push_back(info.id); }));
        for (const FileId& id : ids) {
            Result<Bytes> json = repository_.backend().get({FileType::key, id});
            if (!json.ok()) {
                if (!is_damage(json.error())) return std::move(json).error();
                report_.error(object_name("key", id), json.error().message());
            } else if (content_id(*json) != id) {
                report_.error(object_name("key", id), "content does not match its name");
            } else if (Result<KeyFile> key = decode_key_file(*json); !key.ok()) {
                report_.error(object_name("key", id), key.error().message());
            }
        }
        return {};
    }

    // Read from storage, whatever the cache says.
    Result<> load_revisions() {
        std::vector<RevisionId> ids = request_.revisions;
        snapshot_names_ = TRY_DURING(names_of(FileType::snapshot), "list snapshots");
        if (ids.empty())
            for (const FileId& id : snapshot_names_) ids.push_back(id_cast<RevisionId>(id));
        for (const RevisionId& id : ids) {
            TRY(still_wanted());
            Result<Bytes> json =
                repository_.load_unpacked(FileType::snapshot, retag<struct FileTag>(id));
            if (!json.ok()) {
                // One that was listed may have been forgotten since; one that was asked for must be
                // there.
                if (json.error().kind() == ErrorKind::not_found &&
                    (request_.revisions.empty() || !is_first_look_))
                    continue;
                if (!is_damage(json.error())) return std::move(json).error();
                report_.error(object_name("snapshot", id), json.error().message());
                continue;
            }
            Result<Snapshot> snapshot = decode_snapshot(*json);
            if (!snapshot.ok()) {
                report_.error(object_name("snapshot", id), snapshot.error().message());
                continue;
            }
            revisions_.push_back({id, *std::move(snapshot)});
        }
        result_.revisions = revisions_.size();
        return {};
    }

    // Once into the index that the trees are checked against, and once more file by file: for what
    // each says about packs, and because those loaded earlier may have been damaged since.
    Result<> load_index() {
        std::vector<Error> broken;
        TRY(repository_.refresh_index(stop_, &broken));
        for (const Error& error : broken)
            if (!is_damage(error)) return error;

        index_names_ = TRY_DURING(names_of(FileType::index), "list the index");
        for (const FileId& id : index_names_) {
            TRY(still_wanted());
            Result<Bytes> json = repository_.load_unpacked(FileType::index, id);
            if (!json.ok() && json.error().kind() == ErrorKind::not_found) continue;
            if (!json.ok() && !is_damage(json.error())) return std::move(json).error();
            Listing listing(*this, object_name("index", id));
            Result<> decoded = json.ok()
                                   ? decode_index(*json, repository_.config().version, listing)
                                   : Result<>(std::move(json).error());
            if (!decoded.ok()) report_.error(object_name("index", id), decoded.error().message());
        }
        return {};
    }

    class Listing final : public IndexVisitor {
      public:
        Listing(Check& check, std::string name) : check_(check), name_(std::move(name)) {}
        void pack(const PackId& pack, std::span<const PackedBlob> blobs) override {
            check_.note_pack(name_, pack, blobs);
        }
        void pack_to_delete(const PackId& pack, std::span<const PackedBlob>,
                            const PackMark&) override {
            check_.marked_.insert(pack);
        }

      private:
        Check& check_;
        const std::string name_;
    };

    void note_pack(const std::string& index, const PackId& id, std::span<const PackedBlob> blobs) {
        const IndexedPack pack{pack_file_size(blobs), static_cast<std::uint32_t>(blobs.size()),
                               digest_of(blobs), true};
        auto [place, is_new] = packs_.try_emplace(id, pack);
        if (is_new) {
            bool has_tree = std::ranges::any_of(
                blobs, [](const PackedBlob& blob) { return blob.type == BlobType::tree; });
            bool has_data = std::ranges::any_of(
                blobs, [](const PackedBlob& blob) { return blob.type == BlobType::data; });
            if (has_tree && has_data) report_.hint(object_name("pack", id), "holds trees and data");
        } else if (place->second.digest != pack.digest || place->second.blobs != pack.blobs) {
            report_.error(object_name("pack", id), "index files disagree about it (" + index + ")");
        } else {
            report_.hint(object_name("pack", id), "listed by several index files");
        }
    }

    Result<> compare_packs() {
        std::unordered_set<PackId> listed;
        TRY_DURING(repository_.backend().list(
                       FileType::pack,
                       [&](const FileInfo& info) {
                           const auto id = id_cast<PackId>(info.id);
                           listed.insert(id);
                           ++result_.packs;
                           auto found = packs_.find(id);
                           if (found == packs_.end()) {
                               if (marked_.contains(id)) return;
                               ++result_.orphan_packs;
                               result_.orphan_bytes += info.size;
                               report_.hint(object_name("pack", id), "no index names it");
                           } else if (found->second.size != info.size) {
                               found->second.is_good = false;
                               report_.error(object_name("pack", id),
                                             "has " + std::to_string(info.size) +
                                                 " bytes instead of " +
                                                 std::to_string(found->second.size));
                           }
                       }),
                   "list packs");
        for (auto& [id, pack] : packs_) {
            if (listed.contains(id)) continue;
            pack.is_good = false;
            // A marked one goes while we look. If somebody needs it all the same, the trees tell.
            if (marked_.contains(id)) continue;
            report_.error(object_name("pack", id), "is missing");
        }
        return still_wanted();
    }

    Result<> check_data() {
        // What is known to be damaged is read whatever was asked for: else a look at the structure
        // would find everything in order.
        std::vector<PackId> chosen, known;
        for (const auto& [id, pack] : packs_) {
            if (!pack.is_good || marked_.contains(id) || read_well_.contains(id)) continue;
            (repository_.damage().has_any_of(id) ? known : chosen).push_back(id);
        }
        if (request_.data_percent < 100) {
            std::mt19937_64 random(std::random_device{}());
            std::ranges::shuffle(chosen, random);
            const double share = static_cast<double>(chosen.size()) * request_.data_percent / 100;
            chosen.resize(std::min(chosen.size(), static_cast<std::size_t>(std::ceil(share))));
        }
        chosen.insert(chosen.end(), known.begin(), known.end());
        if (chosen.empty()) return {};
        PackCheck data(repository_, packs_, report_, progress_, stop_);
        data.run(chosen, threads());
        result_.packs_read += data.packs_read;
        result_.bytes_read += data.bytes_read;
        result_.blobs_checked += data.blobs_checked;
        suspects_ = std::move(data.suspects);
        bad_copies_ = std::move(data.bad_copies);
        for (const PackId& id : data.unreadable) packs_[id].is_good = false;
        for (const PackId& id : chosen)
            if (!data.bad.contains(id)) read_well_.insert(id);
        return still_wanted();
    }

    // Of the blobs that have a bad copy: which have no good one? For the paths they hit.
    Result<> find_lost_blobs() {
        bool any_bad =
            std::ranges::any_of(packs_, [](const auto& pack) { return !pack.second.is_good; });
        if (any_bad) {
            repository_.each_indexed([&](const BlobHandle& handle, const BlobLocation& place) {
                auto found = packs_.find(place.pack);
                if (found != packs_.end() && !found->second.is_good) suspects_.insert(handle);
            });
        }
        for (const BlobHandle& handle : suspects_) {
            TRY(still_wanted());
            Result<> found = repository_.blobs().check(handle);
            if (found.ok()) continue;
            if (!is_damage(found.error())) return std::move(found).error();
            damaged_.insert(handle);
        }
        return {};
    }

    Repository& repository_;
    const CheckRequest& request_;
    Progress& progress_;
    const std::stop_token stop_;

    CheckReport report_;
    CheckResult result_;
    std::vector<RevisionEntry> revisions_;
    IndexedPacks packs_;
    std::unordered_set<PackId> marked_;
    BlobSet suspects_, damaged_;
    std::vector<DamagedCopy> bad_copies_;
    std::vector<FileId> snapshot_names_, index_names_;  // in order, as this look began
    std::unordered_set<PackId> read_well_;              // by any look
    bool is_first_look_ = true;
};

}  // namespace

void CheckReport::add(CheckFinding::Severity severity, std::string object, std::string message) {
    std::lock_guard lock(mutex_);
    ++(severity == CheckFinding::Severity::error ? errors_ : hints_);
    if (findings_.size() < kMostFindings) {
        findings_.push_back({severity, std::move(object), std::move(message)});
    } else if (severity == CheckFinding::Severity::error) {
        // Errors are what one must see: a crowd of hints gives way.
        auto hint =
            std::ranges::find(findings_, CheckFinding::Severity::hint, &CheckFinding::severity);
        if (hint != findings_.end()) *hint = {severity, std::move(object), std::move(message)};
    }
}

void CheckReport::error(std::string object, std::string message) {
    add(CheckFinding::Severity::error, std::move(object), std::move(message));
}

void CheckReport::hint(std::string object, std::string message) {
    add(CheckFinding::Severity::hint, std::move(object), std::move(message));
}

void CheckReport::abort(Error error) {
    std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(error);
}

bool CheckReport::has_errors() const {
    std::lock_guard lock(mutex_);
    return errors_ != 0;
}

void CheckReport::start_anew() {
    std::lock_guard lock(mutex_);
    findings_.clear();
    errors_ = hints_ = 0;
}

bool CheckReport::is_aborted() const {
    std::lock_guard lock(mutex_);
    return failure_.has_value();
}

Result<> CheckReport::finish(CheckResult& result) {
    std::lock_guard lock(mutex_);
    if (failure_) return *std::move(failure_);
    result.findings = std::move(findings_);
    result.errors = errors_;
    result.hints = hints_;
    return {};
}

bool is_damage(const Error& error) {
    return error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
}

std::uint64_t digest_of(std::span<const PackedBlob> blobs) {
    std::uint64_t sum = 0;
    for (const PackedBlob& blob : blobs) {
        // A sum of mixed words: independent of the order, and no accident leaves it unchanged.
        std::uint64_t word = blob.id.hash() ^ static_cast<std::uint64_t>(blob.type);
        for (std::uint64_t part : {std::uint64_t{blob.offset}, std::uint64_t{blob.length},
                                   std::uint64_t{blob.uncompressed_length}}) {
            word = (word ^ part) * 0x9e3779b97f4a7c15;
            word ^= word >> 29;
        }
        sum += word;
    }
    return sum;
}

Result<CheckResult> check_repository(Repository& repository, const CheckRequest& request,
                                     Progress& progress, std::stop_token stop) {
    return Check(repository, request, progress, std::move(stop)).run();
}

}  // namespace backup
