#include "daemon/guard/guard.h"

#include <algorithm>

namespace backup {

namespace {

// Slow work of an attacker is added up for so long.
constexpr Duration kWindow = std::chrono::hours(24);

std::string of_files(std::uint64_t count, std::uint64_t all) {
    return std::to_string(count) + " of " + std::to_string(all) + " files";
}

bool is_more_than(std::uint64_t count, std::uint32_t percent, std::uint64_t all) {
    return percent != 0 && count * 100 > all * percent;
}

// An emptied source is asked about in small sets, too.
std::uint64_t least_gone(const GuardRules& rules) {
    return std::max<std::uint64_t>(rules.least / 5, 1);
}

struct Opaque {
    std::uint64_t opaque = 0, could = 0;
};
// A new opaque file in the place of one that went is that file, rewritten under another name.
Opaque opaque_of(const ChangeSigns& signs) {
    const std::uint64_t replaced = std::min(signs.new_opaque, signs.removed + signs.renamed);
    return {signs.turned + replaced, signs.could_turn + replaced};
}

bool is_window_open(const GuardRecord& record, Timestamp now) {
    return record.window_opaque != 0 && record.window_begin <= now &&
           now - record.window_begin <= kWindow;
}

void close_window(GuardRecord& record) {
    record.window_begin = {};
    record.window_opaque = record.window_could = 0;
    record.window_clean.clear();
    record.window_number = 0;
}

// Whether so many files may be gone by what was approved.
bool covers(const GuardQuestion& approved, const GuardRules& rules, std::uint64_t lost) {
    return approved.kind == kGuardVanished ||
           lost <= approved.lost + std::max<std::uint64_t>(approved.lost / 10, least_gone(rules));
}

GuardQuestion question(const char* kind, const std::string& message, const GuardedRunFacts& run) {
    GuardQuestion asked;
    asked.kind = kind;
    asked.since = run.now;
    asked.message = message;
    asked.job = run.job;
    asked.clean = run.parent;
    asked.clean_number = run.parent_number;
    return asked;
}

// The same event goes on: nobody is asked again.
void ask_of_source(GuardStep& step, const char* kind, const std::string& message,
                   std::uint64_t lost, const GuardedRunFacts& run) {
    GuardQuestion& source = step.after.source;
    if (source.kind == kind && source.is_open()) {
        source.message = message;
    } else {
        source = question(kind, message, run);
        step.is_asked = true;
    }
    source.lost = std::max(source.lost, lost);
    source.holds = step.is_held;
    step.message = message;
}

}  // namespace

GuardVerdict judge(const ChangeSigns& signs, const GuardRules& rules, std::uint64_t opaque,
                   std::uint64_t could) {
    using Kind = GuardVerdict::Kind;
    const std::uint64_t before = signs.files_before;
    const std::uint64_t fewer = before > signs.files_now ? before - signs.files_now : 0;
    if (before >= least_gone(rules) && is_more_than(fewer, rules.gone, before) &&
        is_more_than(signs.removed, rules.gone, before))
        return {Kind::emptied, false, of_files(signs.removed, before) + " are gone"};
    const Opaque now = opaque_of(signs);
    opaque += now.opaque;
    could += now.could;
    if (rules.opaque != 0 && now.opaque > 0 && opaque >= rules.least &&
        opaque * 100 >= could * rules.opaque)
        return {Kind::mass_change, true,
                "the content of " + of_files(opaque, could) +
                    " that could be compressed cannot be any more, as if it were encrypted"};
    if (signs.rewritten >= rules.least && is_more_than(signs.rewritten, rules.changed, before))
        return {Kind::mass_change, false, of_files(signs.rewritten, before) + " were rewritten"};
    const std::uint64_t away = signs.removed + signs.renamed;
    if (away >= rules.least && is_more_than(away, rules.removed, before))
        return {Kind::mass_change, false,
                of_files(away, before) + " were removed or have another name"};
    return {};
}

GuardStep review(const GuardRecord& record, const ChangeSigns& signs, const GuardRules& rules,
                 const GuardedRunFacts& run) {
    GuardStep step;
    step.after = record;
    // Answered while this run was under way: its revision would be the newest again.
    if (step.message = why_held(record); !step.message.empty()) {
        step.is_held = true;
        return step;
    }
    GuardRecord& after = step.after;
    if (!is_window_open(record, run.now)) {
        close_window(after);
        after.window_begin = run.now;
        after.window_clean = run.parent;
        after.window_number = run.parent_number;
    }
    const bool is_approved = record.source.answer == "approved";
    GuardRules asked_for = rules;
    if (is_approved) asked_for.removed = 0;  // that is what was approved
    GuardVerdict verdict = judge(signs, asked_for, after.window_opaque, after.window_could);
    if (verdict.kind == GuardVerdict::Kind::emptied && is_approved &&
        covers(record.source, rules, signs.files_before - signs.files_now)) {
        // What is left may have been encrypted all the same.
        asked_for.gone = 0;
        verdict = judge(signs, asked_for, after.window_opaque, after.window_could);
    }
    const Opaque opaque = opaque_of(signs);
    after.window_opaque += opaque.opaque;
    after.window_could += opaque.could;
    if (after.window_opaque == 0) close_window(after);
    switch (verdict.kind) {
        case GuardVerdict::Kind::fine:
            return step;
        case GuardVerdict::Kind::emptied: {
            const std::uint64_t lost = signs.files_before - signs.files_now;
            // Nothing is made of this run: the next one counts again.
            after = record;
            step.is_held = true;
            ask_of_source(step, kGuardEmptied, verdict.sentence, lost, run);
            return step;
        }
        case GuardVerdict::Kind::mass_change:
            break;
    }
    if (!record.change.kind.empty()) return step;  // asked about, or approved for this run
    after.change = question(kGuardMassChange, verdict.sentence, run);
    if (verdict.by_content) {
        after.change.clean = after.window_clean;
        after.change.clean_number = after.window_number;
    }
    step.is_asked = true;
    step.message = verdict.sentence;
    return step;
}

GuardStep miss(const GuardRecord& record, const MissingPart& part, const GuardedRunFacts& run) {
    GuardStep step;
    step.after = record;
    const GuardQuestion& asked = record.source;
    if (asked.kind == kGuardVanished && asked.answer == "approved" &&
        part.places <= std::max<std::uint64_t>(asked.lost, 1))
        return step;
    step.is_held = part.holds;
    ask_of_source(step, kGuardVanished, part.sentence, 0, run);
    step.after.source.lost = part.places;
    return step;
}

GuardStep meet(const GuardRecord& record, const std::string& sentence, std::uint64_t number,
               const GuardedRunFacts& run) {
    GuardStep step;
    step.after = record;
    if (number <= record.line_known) return step;
    step.after.line_known = number;
    step.message = sentence;
    if (record.line.is_open()) return step;
    step.after.line = question(kGuardForeignWriter, sentence, run);
    step.is_asked = true;
    return step;
}

GuardRecord committed(const GuardRecord& record, bool is_missing, Timestamp begun) {
    GuardRecord after = record;
    const GuardQuestion& source = record.source;
    // What was approved while the run was under way is for the next one.
    const bool is_open = source.is_open() || source.answered > begun;
    if (!is_missing || source.kind != kGuardVanished || !is_open) after.source = {};
    if (record.change.answer == "approved") {
        after.change = {};
        close_window(after);
    }
    return after;
}

GuardRecord approve(const GuardRecord& record, Timestamp now) {
    GuardRecord after = record;
    for (GuardQuestion* question : {&after.source, &after.change, &after.line}) {
        if (!question->is_open()) continue;
        // What was rejected is restored by now, which is a mass change as well.
        const bool was_rejected = question->answer == "rejected";
        question->answer = "approved";
        question->answered = now;
        if (question == &after.line) *question = {};
        if (question != &after.change) continue;
        if (!was_rejected) *question = {};
        close_window(after);
    }
    return after;
}

GuardRecord reject(const GuardRecord& record, Timestamp now) {
    GuardRecord after = record;
    for (GuardQuestion* question : {&after.source, &after.change, &after.line}) {
        if (!question->is_open() || question->answer == "rejected") continue;
        question->answer = "rejected";
        question->answered = now;
    }
    return after;
}

std::string why_held(const GuardRecord& record) {
    if (record.change.kind.empty() || record.change.answer != "rejected") return {};
    return "its changes were rejected (" + record.change.message +
           "): no revision is made until they are undone and approved";
}

}  // namespace backup
