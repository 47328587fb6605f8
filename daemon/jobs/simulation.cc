#include "daemon/jobs/simulation.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <dirent.h>
#include <fcntl.h>

#include "common/unique_fd.h"
#include "daemon/archive/listing.h"
#include "daemon/archive/measure.h"
#include "daemon/jobs/catalog.h"

namespace backup {

namespace {

const SystemClock kSystemClock;

// Where there is no parent revision nobody asks.
class NoSource final : public BlobSource {
  public:
    Result<Bytes> load(const BlobHandle&) override { return nothing(); }
    Result<> check(const BlobHandle&) override { return nothing(); }
    bool contains(const BlobHandle&) const override { return false; }
    std::optional<BlobLocation> locate(const BlobHandle&) const override { return std::nullopt; }
    Result<> load_from_pack(const PackId&, std::span<const Wanted>, const EachBlob&) override {
        return nothing();
    }

  private:
    static Error nothing() { return {ErrorKind::not_found, "there is no revision"}; }
};

class Simulator {
  public:
    Simulator(const SimulationTask& task, const Matcher& matcher, std::stop_token stop)
        : task_(task),
          fs_(task.fs != nullptr ? *task.fs : RealFs::instance()),
          matcher_(matcher),
          on_stop_(std::move(stop), [this] { stop_.request_stop(); }),
          end_(std::chrono::steady_clock::now() + task.longest) {
        for (const Path& path : task.set.paths) simulation_.paths.push_back({path.text()});
    }

    Result<Simulation> run() {
        const BackupSet& set = task_.set;
        const SourcePaths paths = TRY(existing_paths(fs_, set));
        auto targets = build_targets(paths.found);
        NoSink sink;
        NoSource no_source;
        Progress progress;
        ExceptionLog exceptions(progress, 0);
        RepositoryHandle opened;
        const std::optional<Revision> parent = find_parent(opened);
        ArchiveInput input{
            .fs = fs_,
            .sink = sink,
            .source = parent ? opened->repository->blobs() : static_cast<BlobSource&>(no_source),
            .clock = kSystemClock,
            .progress = progress,
            .exceptions = exceptions,
            .targets = *targets,
            .exclude = set.exclude,
            .matcher = matcher_,
            .never_enter = identities(fs_, task_.own),
            .zone = Zone::local()};
        MeasureRequest request{.limits = &set.limits};
        std::optional<std::uint64_t> churn_before;
        if (parent) {
            input.parent_tree = parent->snapshot().tree;
            input.parent_time = parent->snapshot().time;
            churn_before = task_.churn_before;
            if (parent->snapshot().summary) request.parent = &*parent->snapshot().summary;
        }
        request.taken = [this](const std::string& path, bool is_file, std::uint64_t size) {
            taken(path, is_file, size);
        };
        request.left_out = [this](const std::string& path, const char* rule) {
            left_out(path, rule);
        };
        auto measured = measure_source(input, request, stop_.get_token());
        if (!measured.ok() && !simulation_.is_partial) return std::move(measured).error();
        if (measured.ok()) {
            simulation_.measured = *measured;
            Admission admission(set.limits, *measured, churn_before, nullptr);
            request = {.limits = &set.limits, .parent = request.parent, .plan = &admission};
            if (set.limits.hard.any()) {
                auto planned = measure_source(input, request, stop_.get_token());
                if (!planned.ok()) return std::move(planned).error();
            }
            admission.tell_plan([this](const std::string& path, const char* limit, bool all) {
                if (simulation_.left_out.size() < Simulation::kMostLeftOut)
                    simulation_.left_out.push_back({path, limit});
                else
                    simulation_.more_left_out = true;
                if (all) simulation_.more_left_out = true;
            });
            simulation_.limits = admission.report();
        } else {
            // Without any end of the walk: what was seen so far.
            for (const auto& one : simulation_.paths) {
                simulation_.measured.new_items += one.items;
                simulation_.measured.new_bytes += one.bytes;
            }
        }
        for (auto& [key, rule] : rules_) simulation_.rules.push_back(std::move(rule));
        std::ranges::stable_sort(simulation_.rules, std::greater<>(), &Simulation::OfRule::bytes);
        return std::move(simulation_);
    }

  private:
    // What a run would continue.
    std::optional<Revision> find_parent(RepositoryHandle& opened) {
        if (task_.pool == nullptr) return std::nullopt;
        auto found = task_.pool->open(task_.set.repository);
        auto listed = found.ok() ? (*found)->repository->list_revisions()
                                 : Result<std::vector<RevisionEntry>>(std::move(found).error());
        if (listed.ok()) {
            if (auto fresh = (*found)->repository->refresh_index(stop_.get_token()); !fresh.ok())
                listed = std::move(fresh).error();
        }
        if (!listed.ok()) {
            simulation_.problem = listed.error().message();
            return std::nullopt;
        }
        opened = std::move(*found);
        const std::vector<Revision> revisions = all_revisions(std::move(*listed));
        const SetOnHost line = line_of(task_.set);
        simulation_.revisions = count_kept(revisions, line);
        return pick_parent(revisions, line, task_.set.paths);
    }

    void look_at_clock() {
        if (++looks_ % 1024 != 0 || std::chrono::steady_clock::now() < end_) return;
        simulation_.is_partial = true;
        stop_.request_stop();
    }

    void taken(const std::string& path, bool is_file, std::uint64_t size) {
        look_at_clock();
        Simulation::OfPath* inner = nullptr;
        for (Simulation::OfPath& one : simulation_.paths) {
            const bool is_inside = path == one.path || one.path == "/" ||
                                   (path.size() > one.path.size() && path.starts_with(one.path) &&
                                    path[one.path.size()] == '/');
            if (is_inside && (inner == nullptr || one.path.size() > inner->path.size()))
                inner = &one;
        }
        if (inner == nullptr) return;  // a directory above
        ++inner->items;
        if (is_file) inner->bytes += size;
    }

    void left_out(const std::string& path, const std::string& rule) {
        struct statx status {};
        if (fs_.status(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, status) < 0) return;
        const bool is_directory = S_ISDIR(status.stx_mode);
        std::string pattern, origin = task_.set.origin;
        if (rule == "pattern") {
            const std::string name = path.substr(path.rfind('/') + 1);
            pattern = matcher_.deciding_pattern(path, name, is_directory).value_or("");
            origin = origin_of(pattern);
        }
        Simulation::OfRule& of_rule = rules_[{rule, pattern}];
        if (of_rule.places++ == 0) {
            of_rule.rule = rule;
            of_rule.pattern = pattern;
            of_rule.origin = origin;
            of_rule.example = path;
        }
        // The tag of a cache stays; what is ours, or of another file system, is not weighed.
        if (rule == "own" || (rule == "one-file-system" && is_directory)) return;
        if (is_directory) return weigh(path, rule == "cachedir-tag", of_rule);
        ++of_rule.items;
        if (S_ISREG(status.stx_mode)) of_rule.bytes += status.stx_size;
    }

    std::string origin_of(const std::string& pattern) const {
        const ExcludeRules& rules = task_.set.exclude;
        const auto found = std::find(rules.patterns.rbegin(), rules.patterns.rend(), pattern);
        if (found == rules.patterns.rend()) return {};
        const auto index = static_cast<std::size_t>(rules.patterns.rend() - found) - 1;
        return index < rules.origins.size() ? rules.origins[index] : std::string();
    }

    // All that is in a directory. What cannot be looked at weighs nothing.
    void weigh(const std::string& top, bool only_inside, Simulation::OfRule& of_rule) {
        if (!only_inside) ++of_rule.items;
        std::vector<std::string> left{top};
        while (!left.empty() && !stop_.stop_requested()) {
            const std::string path = std::move(left.back());
            left.pop_back();
            UniqueFd directory(
                std::max(-1, fs_.open(AT_FDCWD, path.c_str(),
                                      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK)));
            if (!directory || listing_.read(fs_, directory.get()) < 0) continue;
            for (const ListedName& one : listing_.names()) {
                look_at_clock();
                struct statx status {};
                if (fs_.status(directory.get(), one.text, AT_SYMLINK_NOFOLLOW, status) < 0)
                    continue;
                if (only_inside && path == top && one.name() == "CACHEDIR.TAG") continue;
                ++of_rule.items;
                if (S_ISREG(status.stx_mode)) of_rule.bytes += status.stx_size;
                if (S_ISDIR(status.stx_mode)) left.push_back(path + "/" + std::string(one.name()));
            }
        }
    }

    const SimulationTask& task_;
    Fs& fs_;
    const Matcher& matcher_;
    std::stop_source stop_;
    std::stop_callback<std::function<void()>> on_stop_;
    const std::chrono::steady_clock::time_point end_;
    std::uint64_t looks_ = 0;
    Listing listing_;
    std::map<std::pair<std::string, std::string>, Simulation::OfRule> rules_;
    Simulation simulation_;
};

}  // namespace

Result<Simulation> simulate(const SimulationTask& task, std::stop_token stop) {
    const Matcher matcher = TRY(Matcher::compile(task.set.exclude.patterns));
    return Simulator(task, matcher, std::move(stop)).run();
}

}  // namespace backup
