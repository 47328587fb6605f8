#include "ctl/tracking_words.h"

#include <algorithm>

#include "common/path.h"

namespace backup {

TrackingFacts tracking_facts(const Dict& properties) {
    TrackingFacts facts;
    facts.state = properties.text("Tracking");
    facts.watching = properties.text("Watching");
    // A daemon from before it could tell.
    if (facts.state.empty()) facts.state = "off";
    facts.gaps = properties.number("Gaps");
    facts.pending = properties.number("PendingChanges");
    facts.bytes = properties.number("PendingBytes");
    facts.oldest_usec = properties.number("OldestPendingUSec");
    facts.protected_until_usec = properties.number("ProtectedUntilUSec");
    return facts;
}

std::string tracking_text(const TrackingFacts& facts, const Looks& looks) {
    const char* glyph = looks.unicode && facts.state == "degraded" ? "! " : "";
    return glyph + facts.state;
}

double seconds_since(std::uint64_t usec, Timestamp now) {
    return std::max(0.0, std::chrono::duration<double>(now - from_usec(usec)).count());
}

std::string pending_text(const TrackingFacts& facts, Timestamp now, const Looks& looks) {
    if (facts.state == "off") return "";
    if (facts.pending == 0) return facts.state == "scanning" ? "not known yet" : "nothing";
    std::string text = count_text(facts.pending);
    if (facts.bytes != 0) text += " (" + size_text(facts.bytes, looks) + ")";
    if (facts.oldest_usec != 0) text += ", " + duration_text(seconds_since(facts.oldest_usec, now));
    return text;
}

std::string pending_sentence(const TrackingFacts& facts, Timestamp now, const Looks& looks) {
    if (facts.state == "off") return "what waits is not known";
    if (facts.pending == 0)
        return facts.state == "scanning" ? "what waits is not known yet" : "nothing waits";
    std::string text =
        count_text(facts.pending, "change", "changes") + (facts.pending == 1 ? " waits" : " wait");
    if (facts.bytes != 0) text += " (" + size_text(facts.bytes, looks) + ")";
    if (facts.oldest_usec != 0)
        text += (facts.pending == 1 ? ", for " : ", the oldest for ") +
                duration_text(seconds_since(facts.oldest_usec, now));
    return text;
}

std::string tracking_sentence(const TrackingFacts& facts, const std::string& reason) {
    std::string text = facts.state;
    const bool watches = facts.watching == "fanotify" || facts.watching == "inotify";
    if (facts.state != "off" && watches) text += " (" + facts.watching + ")";
    if (!reason.empty()) return text + ": " + printable(reason);
    if (facts.state == "off") return text + ": each run compares every file";
    if (facts.state == "scanning") return text + ": the sources are looked through once";
    if (facts.gaps != 0)
        return text + ": on " + count_text(facts.gaps, "file system", "file systems") +
               " changes may be unknown until the next scan";
    return text;
}

void add_tracking(JsonObject& object, const TrackingFacts& facts, Timestamp now) {
    object.add("tracking", facts.state)
        .add("gaps", facts.gaps)
        .add("pending", facts.pending)
        .add("bytes", facts.bytes);
    if (facts.oldest_usec == 0)
        object.add_null("oldest_seconds");
    else
        object.add("oldest_seconds", seconds_since(facts.oldest_usec, now));
}

std::string blocked_sentence(const std::string& word, const std::string& set,
                             const std::string& tracking_reason) {
    const std::string because =
        tracking_reason.empty() ? "" : " (" + printable(tracking_reason) + ")";
    if (word == "disabled")
        return "the set is switched off; switch it on: backupctl set edit " + set + " --enable";
    if (word == "by-hand")
        return "the set runs only when asked: backupctl run " + set +
               "; let it run by itself: backupctl set edit " + set + " --automatic";
    if (word == "tracking-off")
        return "changes are not tracked" + because + ": each run compares every file";
    if (word == "tracking-scanning")
        return "the sources are being looked through" + because +
               "; until then changes made before may be unknown";
    if (word == "tracking-degraded") return "some changes are found late" + because;
    if (word == "held")
        return "somebody has it open for writing: what a revision takes may be an intermediate "
               "state, so it waits on";
    if (word == "guard")
        return "something must be answered before a revision is made: backupctl status " + set;
    if (word == "locked") return "its repository has no password here: backupctl repo unlock NAME";
    if (word == "offline") return "its repository cannot be reached";
    return "waits: " + printable(word);
}

}  // namespace backup
