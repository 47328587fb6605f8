#include "ctl/job_words.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace backup {

JsonObject counts_object(const Dict& details) {
    JsonObject counts;
    for (const auto& [key, value] : details.values()) {
        if (!std::holds_alternative<std::uint64_t>(value) &&
            !std::holds_alternative<std::uint32_t>(value))
            continue;
        std::string name = key;
        std::replace(name.begin(), name.end(), '-', '_');
        counts.add(name, details.number(key));
    }
    return counts;
}

Tone outcome_tone(std::string_view outcome) {
    if (outcome == "complete") return Tone::good;
    if (outcome == "exceptions" || outcome == "cancelled" || outcome == "interrupted")
        return Tone::warn;
    return outcome == "failed" ? Tone::bad : Tone::plain;
}

std::string outcome_text(std::string_view outcome, const Looks& looks) {
    std::string glyph;
    if (looks.unicode) {
        if (outcome == "complete") glyph = "✓ ";
        if (outcome == "exceptions" || outcome == "interrupted") glyph = "! ";
        if (outcome == "failed") glyph = "✗ ";
    }
    return glyph + std::string(outcome);
}

std::string counts_sentence(const std::string& kind, const Dict& details, const Looks& looks) {
    std::vector<std::string> parts;
    auto count = [&](const char* key, const char* one, const char* many, bool always = false) {
        if (always || details.number(key) > 0)
            parts.push_back(count_text(details.number(key), one, many));
    };
    auto size = [&](const char* key, const char* what) {
        if (details.has(key)) parts.push_back(size_text(details.number(key), looks) + " " + what);
    };
    if (kind == "backup") {
        std::string files;
        for (auto [key, word] :
             {std::pair{"files-new", "new"}, std::pair{"files-changed", "changed"},
              std::pair{"files-removed", "removed"}, std::pair{"files-unmodified", "unmodified"}})
            if (details.number(key) > 0)
                files += (files.empty() ? "" : ", ") + count_text(details.number(key)) + " " + word;
        if (!files.empty()) parts.push_back("files: " + files);
        size("bytes-read", "read");
        size("bytes-stored", "stored");
    } else if (kind == "restore") {
        count("created", "created", "created");
        count("replaced", "replaced", "replaced");
        count("kept-both", "kept beside", "kept beside");
        count("skipped", "skipped", "skipped");
        count("unchanged", "already there", "already there");
        count("deleted", "removed", "removed");
        count("spared", "not in the revision, left", "not in the revision, left");
        count("set-aside", "set aside", "set aside");
        count("failed", "failed", "failed");
        if (parts.empty()) parts.push_back("nothing to do");
        if (details.number("bytes") > 0) size("bytes", "in all");
    } else if (kind == "verify" || kind == "check") {
        count("revisions", "revision", "revisions", true);
        count("packs", "pack", "packs", true);
        count("packs-read", "of them read in full", "of them read in full");
        count("blobs", "blob", "blobs");
        count("errors", "error", "errors", true);
        count("hints", "hint", "hints");
        if (details.number("orphan-bytes") > 0)
            size("orphan-bytes", "in packs that no index names");
    }
    if (kind == "drill") {
        count("files", "file came back as it was", "files came back as they were", true);
        if (details.number("bytes") > 0) size("bytes", "in all");
        count("compared-live", "compared with the one on disk", "compared with those on disk");
        count("failed", "failed", "failed");
        count("untried", "could not be tried here", "could not be tried here");
        count("passed-over", "larger one passed over", "larger ones passed over");
    }
    if (kind == "gc") {
        count("forgotten", "revision moved to the trash", "revisions moved to the trash");
        count("revisions-removed", "snapshot removed", "snapshots removed");
        if (details.number("packs-marked") > 0) size("bytes-marked", "marked");
        if (details.number("packs-copied") > 0) size("bytes-copied", "copied");
        count("packs-recovered", "pack needed again", "packs needed again");
        if (details.number("packs-removed") > 0) size("bytes-removed", "removed");
        count("packs-waiting", "pack waits", "packs wait");
        if (parts.empty()) parts.push_back("nothing to do");
    }
    if (kind == "forget") {
        count("forgotten", "revision moved to the trash", "revisions moved to the trash", true);
        count("kept", "kept", "kept");
    }
    std::string text;
    for (const auto& part : parts) text += (text.empty() ? "" : "; ") + part;
    return text;
}

}  // namespace backup
