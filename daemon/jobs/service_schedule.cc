// When runs begin, wait and go on: the scheduler's decisions carried out.
#include <algorithm>

#include "daemon/guard/guard.h"
#include "daemon/jobs/service.h"
#include "daemon/repository/reserve.h"
#include "daemon/runtime/durable_file.h"

namespace backup {

namespace {

// A look at everything at least this often, whatever was foreseen.
constexpr Duration kLongestSleep = std::chrono::minutes(15);
constexpr Duration kLongestSleepOfTests = std::chrono::milliseconds(100);
constexpr Duration kLookForSpace = std::chrono::minutes(1);
constexpr Duration kShortestSleep = std::chrono::milliseconds(20);
// A job that is held for longer gives its memory and its lock back, and is taken up later.
constexpr Duration kParkAfter = std::chrono::minutes(2);
constexpr Duration kParkAfterInTests = std::chrono::seconds(5);
// By so much more the wall clock went on than the other: the machine slept.
constexpr Duration kSlept = std::chrono::seconds(30);
// What services of the machine tell is known by then.
constexpr Duration kRestoredFor = std::chrono::minutes(1);

std::string conditions_text(const std::vector<Reason>& reasons) {
    std::string text;
    for (const Reason& reason : reasons) text += (text.empty() ? "" : "; ") + reason.text;
    return text;
}

bool is_remote(const Policy& policy, const std::string& repository) {
    auto found = policy.repositories.find(repository);
    return found != policy.repositories.end() && !local_directory(found->second.url);
}

bool avoids(const BackupSet& set, const Policy& policy, Condition condition) {
    if (condition == Condition::sleep) return true;
    if (!set.avoid)
        return (condition == Condition::metered || condition == Condition::offline) &&
               is_remote(policy, set.repository);
    return std::ranges::find(*set.avoid, to_string(condition)) != set.avoid->end();
}

}  // namespace

RunFacts Service::run_facts(const BackupSet& set) const {
    RunFacts facts;
    const SetRecord record = set_status(set.id).record;
    facts.past = {record.last_attempt, record.last_success, record.last_full, {}};
    if (auto tried = full_tried_.find(set.id); tried != full_tried_.end())
        facts.past.full_tried = tried->second;
    if (tracker_ != nullptr) {
        const TrackingStatus tracking = tracker_->status(set.id);
        const bool is_live =
            tracking.state == TrackingState::live || tracking.state == TrackingState::degraded;
        if (is_live && tracking.pending != 0 && tracking.last_change)
            facts.changes = {tracking.oldest.value_or(*tracking.last_change),
                             *tracking.last_change};
        const GuardRecord guard = guards_.of(set.id);
        facts.looks_for_source = guard.source.is_open() && guard.source.holds;
    }
    if (auto resume = resumes_.find(set.id); resume != resumes_.end())
        facts.resume_at = resume->second;
    facts.was_parked = parked_.contains(set.id);
    if (auto asked = asked_.find(set.id); asked != asked_.end()) facts.asked = asked->second.run;
    facts.awake_since = awake_since_;
    return facts;
}

bool Service::is_restoring() const {
    return std::ranges::any_of(runner_.jobs(), [](const Job* job) {
        return job->record().kind == "restore" && job->record().mode != "dry-run" &&
               job->state() == JobState::running;
    });
}

std::vector<Reason> Service::holds_of(const BackupSet& set, Timestamp now) const {
    std::vector<Reason> list = holds_.reasons(now);
    for (const Reason& reason : host_)
        if (avoids(set, *policy_, reason.condition)) list.push_back(reason);
    if (std::string why = why_held(guards_.of(set.id)); !why.empty())
        list.push_back(
            {Condition::guard, "an answer is waited for: `backupctl status " + set.id + "`"});
    if (repository_facts(set.repository).status.state == RepositoryState::unavailable) {
        Reason away{Condition::offline, "repository '" + set.repository + "' cannot be reached"};
        away.of_storage = true;
        list.push_back(std::move(away));
    }
    if (auto full = full_.find(set.repository); full != full_.end())
        list.push_back({Condition::low_space,
                        "the storage of repository '" + set.repository +
                            "' is full: `backupctl gc " + set.repository + "`",
                        full->second.since});
    if (is_restoring())
        list.push_back({Condition::restore, "a restore is running, and comes first"});
    if (auto asked = asked_.find(set.id); asked != asked_.end())
        list = remaining(std::move(list), asked->second.ignored);
    return list;
}

WindowPlan Service::windows_of(const BackupSet& set) const {
    auto repository = policy_->repositories.find(set.repository);
    return WindowPlan(
        set, repository == policy_->repositories.end() ? nullptr : &repository->second, zone_);
}

Verdict Service::decide_for(const BackupSet& set, Timestamp now) const {
    static const std::string machine = machine_id();
    const RunFacts facts = run_facts(set);
    const std::vector<Reason> holds = holds_of(set, now);
    // Who asked for the run may have chosen not to wait for a window.
    const auto asked = asked_.find(set.id);
    const bool ignores_windows =
        asked != asked_.end() && asked->second.ignored.has(Condition::window);
    const WindowPlan windows =
        ignores_windows ? WindowPlan(BackupSet(), nullptr, zone_) : windows_of(set);
    return decide({set, facts, windows, holds, machine, now});
}

Verdict Service::verdict(const BackupSet& set) const {
    const Timestamp now = clock_.now();
    Verdict verdict = decide_for(set, now);
    deferrals_.look_up(set.id, verdict.reasons, now);
    return verdict;
}

std::optional<Timestamp> Service::next_run_of(const BackupSet& set) const {
    const Verdict now = verdict(set);
    // When everything is to be read again is no news until it is due.
    if (now.due && now.due->trigger == "schedule" && set.interval_seconds == 0 && !now.due->is_full)
        return std::nullopt;
    // What is due and held up says so elsewhere; the forecast is when it may begin.
    return now.start;
}

std::vector<std::string> Service::blocked_by(const BackupSet& set) const {
    std::vector<std::string> words;
    const auto add = [&words](std::string_view word) {
        if (std::ranges::find(words, word) == words.end()) words.emplace_back(word);
    };
    const GuardRecord guard = guards_.of(set.id);
    if ((guard.source.is_open() && guard.source.holds) || !why_held(guard).empty()) add("guard");
    if (repository_facts(set.repository).status.state == RepositoryState::locked) add("locked");
    for (const Reason& reason : waiting_reasons(set)) add(to_string(reason.condition));
    return words;
}

std::vector<Reason> Service::waiting_reasons(const BackupSet& set) const {
    if (const Job* job = runner_.active_backup(set.id)) {
        auto held = held_.find(set.id);
        return job->held_since() && held != held_.end() ? held->second : std::vector<Reason>{};
    }
    return verdict(set).reasons;
}

std::vector<Service::ConditionNow> Service::explain_schedule(const BackupSet& set) const {
    const Timestamp now = clock_.now();
    const Verdict verdict = this->verdict(set);
    const std::vector<Reason> reasons = waiting_reasons(set);
    std::vector<ConditionNow> list;
    const auto add = [&list](std::string word, bool is_met, std::string text) {
        list.push_back({std::move(word), is_met, std::move(text), {}, {}});
    };
    if (!set.enabled)
        add("enabled", false,
            "the set is switched off: `backupctl set edit " + set.id + " --enable`");
    else if (!set.automatic && set.interval_seconds == 0)
        add("automatic", false, "it does not run by itself: `backupctl run " + set.id + "`");
    const Job* job = runner_.active_backup(set.id);
    if (job != nullptr)
        add("due", true, "job " + std::to_string(job->id()) + " is " + to_string(job->state()));
    else if (!verdict.due)
        add("due", false, "nothing has changed since the last revision");
    else if (verdict.due->at > now)
        add("due", false, "a run is due at " + to_second(verdict.due->at));
    else
        add("due", true, "a run is due since " + to_second(verdict.due->at));
    const auto is_among = [&reasons](Condition condition) {
        return std::ranges::find(reasons, condition, &Reason::condition) != reasons.end();
    };
    for (const Reason& reason : reasons)
        list.push_back({std::string(to_string(reason.condition)), false,
                        reason.text + " (since " + to_second(reason.since) + ")", reason.since,
                        reason.until});
    if (!is_among(Condition::window)) {
        const WindowPlan windows = windows_of(set);
        const Calendar::State state = windows.at(now);
        if (!windows.has_windows())
            add("window", true, "it has no windows: it may run at any time");
        else if (state.is_open)
            add("window", true, state.until ? "open until " + to_second(*state.until) : "open");
        else
            add("window", false, "closed; nothing waits for it");
    }
    if (!is_among(Condition::paused)) add("paused", true, "uploads are not paused");
    if (!is_among(Condition::offline))
        add("offline", true, "repository '" + set.repository + "' can be reached as far as known");
    return list;
}

// What was told to the log: when something begins to wait, and when it no longer does.
void Service::tell_deferrals(const BackupSet& set, const Verdict& verdict, Timestamp now) {
    std::vector<Reason> reasons = verdict.reasons;
    const bool is_due = verdict.due && verdict.due->at <= now;
    for (const Deferrals::Change& change : deferrals_.update(set.id, reasons, now)) {
        const std::string word(to_string(change.reason.condition));
        if (change.ended)
            events_.add(LogLevel::info, "set '" + set.id + "' no longer waits (" + word +
                                            ", since " + to_second(change.reason.since) + ")");
        else
            events_.add(LogLevel::info, "set '" + set.id + "' " + (is_due ? "waits" : "will wait") +
                                            " (" + word + "): " + change.reason.text);
        if (listener_ != nullptr) listener_->set_changed(set.id);
    }
    if (verdict.is_escalated && escalated_.insert(set.id).second)
        events_.add(LogLevel::warning,
                    "set '" + set.id + "' waits for too long, since " +
                        to_second(*verdict.deferred_since) + ": " +
                        conditions_text(verdict.reasons) + " (`backupctl run " + set.id +
                        " --ignore " + std::string(to_string(verdict.reasons.front().condition)) +
                        "` does not wait for it)");
    if (!verdict.is_escalated) escalated_.erase(set.id);
}

void Service::start_due(const BackupSet& set, const Due& due, Timestamp now) {
    // A run that cannot be begun is asked for again an interval later, not at once.
    sets_[set.id].record.last_attempt = now;
    if (due.is_full && due.trigger != "user") full_tried_[set.id] = now;
    BackupStart start{.full = due.is_full, .trigger = due.trigger, .uid = due.uid};
    if (auto asked = asked_.find(set.id); asked != asked_.end()) {
        start.ignored = asked->second.ignored;
        asked_.erase(asked);
    }
    start_backup(set.id, start, [this, id = set.id](Result<const Job*> job) {
        if (!job.ok())
            events_.add(LogLevel::error,
                        "cannot start the backup of set '" + id + "': " + job.error().message());
    });
}

void Service::notice_sleep(Timestamp now) {
    const MonotonicTime elapsed = clock_.monotonic();
    if (last_tick_ && now - last_tick_->first > elapsed - last_tick_->second + kSlept) {
        awake_since_ = now;
        zone_ = Zone::local();
    }
    last_tick_ = {now, elapsed};
}

void Service::hold_or_resume(Timestamp now, Timestamp& wake) {
    for (const Job* job : runner_.jobs()) {
        if (job->is_done() || !job->can_be_held() || job->record().kind != "backup") continue;
        const std::string& id = job->record().set;
        auto set = policy_->sets.find(id);
        if (set == policy_->sets.end()) continue;
        const WindowPlan windows = windows_of(set->second);
        if (const auto edge = windows.at(now).until) wake = std::min(wake, *edge);
        std::vector<Reason> reasons =
            holding(windows, holds_of(set->second, now), ignoring_[id], now);
        if (reasons.empty()) {
            if (job->held_since()) {
                deferrals_.forget(id);
                held_.erase(id);
                runner_.resume(job->id());
            }
            continue;
        }
        for (const Reason& reason : reasons)
            if (reason.until) wake = std::min(wake, *reason.until);
        deferrals_.update(id, reasons, now);
        const std::string why = conditions_text(reasons);
        const bool may_park =
            job->record().mode != "full" && std::ranges::none_of(reasons, [](const Reason& reason) {
                return reason.condition == Condition::restore;
            });
        held_[id] = std::move(reasons);
        runner_.hold(job->id(), why);
        if (!may_park || !job->held_since()) continue;
        const Duration held = clock_.monotonic() - *job->held_since();
        const Duration patience = clock_.jumps_unseen() ? kParkAfterInTests : kParkAfter;
        if (held >= patience)
            runner_.park(job->id());
        else
            wake = std::min(wake, now + (patience - held));
    }
}

void Service::set_rates(Timestamp now) {
    const auto lower = [](std::uint64_t a, std::uint64_t b) {
        return a == 0 ? b : b == 0 ? a : std::min(a, b);
    };
    rates_->limit(Rates::Way::up, "", policy_->upload_rate);
    rates_->limit(Rates::Way::down, "", policy_->download_rate);
    for (const auto& [id, set] : policy_->sets) {
        rates_->limit(Rates::Way::up, id,
                      lower(set.upload_rate, windows_of(set).at(now).bytes_per_second));
        rates_->limit(Rates::Way::down, id, set.download_rate);
    }
}

// Starts what is due and sleeps until the next deadline, of a run or of a promise.
void Service::tick() {
    tick_soon_ = false;
    const Timestamp now = clock_.now();
    Timestamp wake = now + (clock_.jumps_unseen() ? kLongestSleepOfTests : kLongestSleep);
    notice_sleep(now);
    holds_.drop_old(now);
    set_rates(now);
    hold_or_resume(now, wake);
    std::vector<const BackupSet*> sets;
    for (const auto& [id, set] : policy_->sets)
        if (set.enabled || asked_.contains(id)) sets.push_back(&set);
    std::ranges::stable_sort(sets, std::greater<>(), &BackupSet::priority);
    for (const BackupSet* set : sets) {
        const Timestamp late =
            success_deadline(*set, windows_of(*set), set_status(set->id).record.last_success);
        if (late > now) wake = std::min(wake, late + std::chrono::seconds(1));
        if (runner_.active_backup(set->id) != nullptr) continue;
        const Verdict verdict = decide_for(*set, now);
        tell_deferrals(*set, verdict, now);
        if (verdict.may_begin(now))
            start_due(*set, *verdict.due, now);
        else if (verdict.ask_again)
            wake = std::min(wake, *verdict.ask_again);
    }
    keep_waiting();
    collect_what_is_due(now, wake);
    verify_what_is_due(now, wake);
    drill_what_is_due(now, wake);
    look_for_space(now, wake);
    watch_health(wake);
    // A disk that was unplugged may be back.
    const MonotonicTime elapsed = clock_.monotonic();
    for (const auto& [name, repository] : policy_->repositories) {
        if (pool_.status(name).state != RepositoryState::unavailable) continue;
        if (probes_.is_due(name, elapsed)) {
            probes_.begin(name, elapsed);
            refresh_repository(name);
        }
        wake = std::min(wake, now + (probes_.next(name) - elapsed));
    }
    if (!sets.empty()) tick_.start(std::max<Duration>(wake - now, kShortestSleep));
    if (listener_ != nullptr) listener_->any_changed();
}

// Not later than was asked for already.
void Service::tick_later() {
    if (begun_ && !tick_soon_) tick_.start(std::chrono::seconds(1));
}

void Service::tick_now() {
    if (!begun_ || tick_soon_) return;
    tick_soon_ = true;
    tick_.start(std::chrono::milliseconds(1));
}

void Service::changed_everywhere() {
    if (listener_ != nullptr) {
        for (const auto& [id, set] : policy_->sets) listener_->set_changed(id);
        listener_->any_changed();
    }
    tick_now();
}

void Service::look_for_space(Timestamp now, Timestamp& wake) {
    for (auto& [name, full] : full_) {
        const Duration every = clock_.jumps_unseen() ? kLongestSleepOfTests : kLookForSpace;
        if (full.is_looking) continue;
        if (full.looked <= now && now < full.looked + every) {
            wake = std::min(wake, full.looked + every);
            continue;
        }
        full.is_looking = true;
        full.looked = now;
        io_.run(
            [this, name = name]() -> Result<> {
                RepositoryHandle opened = TRY(pool_.open(name));
                return check_reserve(*opened->storage.backend, 1);
            },
            [this, name = name](Result<> room) {
                if (auto found = full_.find(name); found != full_.end()) {
                    found->second.is_looking = false;
                    if (room.ok()) full_.erase(found);
                }
                changed_everywhere();
            });
    }
}

void Service::tell_busy() {
    const bool is_busy = runner_.active() > 0;
    if (!options_.busy_changed || is_busy == told_busy_) return;
    told_busy_ = is_busy;
    options_.busy_changed(is_busy);
}

void Service::tell_pressure_wanted() {
    if (!options_.pressure_wanted) return;
    const bool is_wanted = std::ranges::any_of(policy_->sets, [this](const auto& entry) {
        return entry.second.enabled && avoids(entry.second, *policy_, Condition::pressure);
    });
    options_.pressure_wanted(is_wanted, policy_->pressure_percent);
}

void Service::host_changed(std::vector<Reason> reasons) {
    host_ = std::move(reasons);
    changed_everywhere();
}

void Service::pause(std::optional<Timestamp> until, Done done) {
    holds_.pause({clock_.now(), until});
    events_.add(LogLevel::notice,
                until ? "uploads are paused until " + to_second(*until) : "uploads are paused");
    keep_pause(std::move(done));
}

void Service::resume(Done done) {
    holds_.resume();
    events_.add(LogLevel::notice, "uploads are no longer paused");
    keep_pause(std::move(done));
}

void Service::keep_pause(Done done) {
    changed_everywhere();
    journal_.run([file = options_.state_dir + "/pause",
                  pause = holds_.pause_at(clock_.now())] { return write_pause(file, pause); },
                 std::move(done));
}

// A request that was put off is kept before its caller hears of it; since when a reason holds, with
// the next tick.
void Service::keep_waiting() {
    if (restored_at_ && clock_.monotonic() > *restored_at_ + kRestoredFor) {
        deferrals_.forget_restored();
        restored_at_.reset();
    }
    if (restored_at_) deferrals_.forget_restored_but_of_host();
    Waiting waiting;
    waiting.asked = asked_;
    for (const auto& [set, reasons] : deferrals_.known())
        for (const auto& [condition, reason] : reasons)
            waiting.since[{set, condition}] = reason.since;
    // Those that may come back have not all been found yet.
    for (const auto& [of, since] : deferrals_.restored()) waiting.since.emplace(of, since);
    std::string text = format_waiting(waiting);
    if (text == waiting_written_) return;
    waiting_written_ = text;
    journal_.run([file = options_.state_dir + "/waiting",
                  text = std::move(text)] { return write_file_durably(file, text, 0600); },
                 [this](Result<> kept) {
                     if (!kept.ok())
                         events_.add(LogLevel::warning,
                                     "cannot remember what waits: " + kept.error().message());
                 });
}

void Service::load_waiting() {
    Waiting waiting = read_waiting(options_.state_dir + "/waiting");
    waiting_written_ = format_waiting(waiting);
    for (auto& [set, asked] : waiting.asked)
        if (policy_->sets.contains(set)) asked_.emplace(set, std::move(asked));
    for (const auto& [of, since] : waiting.since) deferrals_.restore(of.first, of.second, since);
    if (!waiting.since.empty()) restored_at_ = clock_.monotonic();
}

Result<std::uint64_t> Service::inhibit(std::string who, std::string why, std::uint32_t uid) {
    const std::uint64_t number =
        TRY(holds_.inhibit(std::move(who), std::move(why), uid, clock_.now()));
    changed_everywhere();
    return number;
}

void Service::release(std::uint64_t number) {
    holds_.release(number);
    changed_everywhere();
}

}  // namespace backup
