// history: the distinct versions of one path.
#include <algorithm>
#include <map>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/found_words.h"
#include "ctl/resolve.h"
#include "ctl/stream.h"

namespace backup {

namespace {

struct PastVersion {
    Record record;
    bool deleted = false;
    std::uint64_t revisions = 0, time = 0;
    std::string asked;             // the set; what it has adopted was made under another name
    std::optional<Record> before;  // the same version, as a former name of the set had it first

    const Record& first() const { return before ? *before : record; }
    std::string set() const { return record.text("set"); }
};

struct PathHistory {
    std::string path;
    std::optional<Record> disk;
    std::vector<PastVersion> versions;          // newest first
    std::map<std::string, std::string> behind;  // set: why
};

// What one set says of the object on the disk counts the less the further down it stands.
int rank_of(const Record& disk) {
    static const std::vector<std::string> kOrder = {
        "protected", "unprotected", "deleted", "excluded", "unknown", "missing", "outside"};
    return static_cast<int>(std::find(kOrder.begin(), kOrder.end(), disk.text("disk")) -
                            kOrder.begin());
}

bool is_same(const PastVersion& a, const PastVersion& b) {
    return a.deleted == b.deleted && a.record.text("type") == b.record.text("type") &&
           a.record.number("size") == b.record.number("size") &&
           a.record.integer("mtime_ns") == b.record.integer("mtime_ns") &&
           a.record.number("mode") == b.record.number("mode");
}

bool is_same_line(const PastVersion& a, const PastVersion& b) {
    return a.set() == b.set() && a.record.bytes("host") == b.record.bytes("host");
}

Result<> read_set(Client& client, const SetRef& set, const Dict& options, PathHistory& history) {
    auto opened = client.list_versions(set.object, history.path, options);
    if (!opened.ok()) return std::move(opened).error();
    Stream stream(std::move(*opened));
    while (auto record = TRY(stream.next())) {
        if (record->has("disk")) {
            if (record->has("behind")) history.behind[set.id] = record->text("behind");
            if (!history.disk || rank_of(*record) < rank_of(*history.disk))
                history.disk = std::move(*record);
            continue;
        }
        PastVersion version{std::move(*record)};
        version.deleted = version.record.flag("deleted");
        version.revisions = version.record.number("revisions");
        version.time = version.record.number("time");
        version.asked = set.id;
        history.versions.push_back(std::move(version));
    }
    return {};
}

// Several sets of one repository tell of the same snapshots of other programs; and what such a
// program, or a set under its former name, saved last is what the set saved first.
void tidy(std::vector<PastVersion>& versions) {
    std::stable_sort(versions.begin(), versions.end(), [](const auto& a, const auto& b) {
        return a.record.number("last_time") > b.record.number("last_time");
    });
    std::vector<PastVersion> kept;
    for (PastVersion& version : versions) {
        const bool known = std::any_of(kept.begin(), kept.end(), [&](const PastVersion& other) {
            return other.deleted == version.deleted &&
                   other.record.text("last_revision") == version.record.text("last_revision");
        });
        if (known) continue;
        const bool goes_on = !kept.empty() && !is_same_line(kept.back(), version) &&
                             (version.set().empty() || (version.record.flag("adopted") &&
                                                        version.asked == kept.back().asked)) &&
                             is_same(kept.back(), version);
        if (!goes_on) {
            kept.push_back(std::move(version));
            continue;
        }
        kept.back().revisions += version.revisions;
        if (version.set().empty()) continue;
        kept.back().time = version.time;
        kept.back().before = std::move(version.record);
    }
    versions = std::move(kept);
}

// ---- JSON

JsonObject version_object(const Context& context, const PastVersion& version) {
    const Record& record = version.record;
    JsonObject object;
    const Record& first = version.first();
    object.add("revision", first.text("revision")).add("number", first.number("number"));
    context.add_time(object, "time", version.time);
    const std::string kind = kind_of_letter(record.text("type"));
    object.add("kind", version.deleted ? std::string("deleted") : kind);
    if (version.deleted) {
        object.add("size", std::uint64_t{0}).add_null("mtime").add("was", kind);
    } else {
        object.add("size", record.number("size"))
            .add("mtime", mtime_json(context, record))
            .add("mode", record.number("mode"))
            .add("uid", record.number("uid"))
            .add("gid", record.number("gid"));
    }
    object.add("revisions", version.revisions)
        .add("change", first.text("change"))
        .add("last_revision", record.text("last_revision"))
        .add("last_number", record.number("last_number"));
    context.add_time(object, "last_time", record.number("last_time"));
    return object.add_bytes("set", record.bytes("set")).add_bytes("host", record.bytes("host"));
}

JsonObject disk_object(const Context& context, const Record& disk) {
    JsonObject object;
    object.add("state", disk.text("disk"));
    if (disk.has("change")) object.add("change", disk.text("change"));
    if (disk.has("problem")) object.add("problem", disk.text("problem"));
    if (disk.has("type"))
        object.add("kind", kind_of_letter(disk.text("type")))
            .add("size", disk.number("size"))
            .add("mtime", mtime_json(context, disk))
            .add("mode", disk.number("mode"));
    return object;
}

void print_json(Context& context, const PathHistory& history) {
    JsonObject object = context.object("history");
    object.add_bytes("path", history.path);
    std::vector<JsonObject> versions;
    for (const PastVersion& version : history.versions)
        versions.push_back(version_object(context, version));
    object.add("versions", versions);
    if (history.disk)
        object.add("on_disk", disk_object(context, *history.disk));
    else
        object.add_null("on_disk");
    std::vector<JsonObject> behind;
    for (const auto& [set, why] : history.behind)
        behind.push_back(JsonObject().add("set", set).add("reason", why));
    object.add("behind", behind);
    context.print(object);
}

// ---- Text

std::string change_text(const std::string& change, const std::string& kind) {
    if (change == "created") return kind == "file" ? "new" : "new " + kind;
    if (change == "content") return "changed";
    if (change == "metadata") return kind == "directory" ? "entries or metadata" : "metadata only";
    if (change == "kind") return "now a " + kind;
    return change;
}

std::string size_cell(const Record& record, const Looks& looks) {
    return record.text("type") == "f" ? size_text(record.number("size"), looks) : "-";
}

void add_disk_row(Table& table, const Record& disk, const Looks& looks) {
    const std::string state = disk.text("disk");
    if (state == "unprotected") {
        const std::string change = disk.text("change");
        table.add({"on disk", "-",
                   "not yet protected: " + change_text(change, kind_of_letter(disk.text("type"))),
                   size_cell(disk, looks), time_text(mtime_usec(disk), looks), ""},
                  Tone::warn);
    } else if (state == "deleted") {
        table.add({"on disk", "-", "gone, and no revision without it yet", "-", "-", ""},
                  Tone::warn);
    }
}

// The version that is most likely missed: what is not on the disk any more.
const PastVersion* worth_restoring(const PathHistory& history) {
    const std::string state = history.disk ? history.disk->text("disk") : "outside";
    bool skip = state == "protected";
    for (const PastVersion& version : history.versions) {
        if (version.deleted) {
            skip = false;
            continue;
        }
        if (!std::exchange(skip, false)) return &version;
    }
    return nullptr;
}

void print_hint(Context& context, const PathHistory& history, bool several_sets) {
    const PastVersion* version = worth_restoring(history);
    if (version == nullptr) return;
    const bool exists = history.disk && history.disk->has("type");
    const auto host = context.args().value("--host");
    const std::string conflict = exists && !host ? " --on-conflict keep-both" : "";
    const std::string to_do = std::string("To have the ") + (exists ? "earlier" : "last") +
                              " version back: backupctl restore ";
    context.line("");
    if (version->set().empty())  // a snapshot of another program has no number, and no set
        return context.line(to_do + version->record.text("last_revision").substr(0, 8) + ":" +
                            shell_word(history.path) + (host ? " --to ." : conflict));
    Looks local = context.looks();
    local.utc = false;
    std::string command = shell_word(history.path);
    if (host)
        command += " --host " + shell_word(*host) + " --to .";
    else if (several_sets)
        command += " --set " + shell_word(version->asked);
    command += " --at \"" + time_text(version->record.number("last_time"), local) + "\"";
    context.line(to_do + command + conflict);
}

void print_text(Context& context, const PathHistory& history, bool several_sets) {
    const Looks& looks = context.looks();
    using Align = Column::Align;
    Table table({{"SINCE"},
                 {"REVISION"},
                 {"WHAT", Align::left, Column::Fit::shrink_end},
                 {"SIZE", Align::right},
                 {"MODIFIED"},
                 {"IN", Align::right, Column::Fit::drop}});
    if (history.disk) add_disk_row(table, *history.disk, looks);
    for (const PastVersion& version : history.versions) {
        const Record &record = version.record, &first = version.first();
        const std::string kind = kind_of_letter(record.text("type"));
        std::string name = revision_name(version.set().empty() ? std::string() : version.asked,
                                         first.number("number"), first.text("revision"));
        const std::string in = count_text(version.revisions, "revision", "revisions");
        if (version.deleted)
            table.add({time_text(version.time, looks), name, "deleted", "-", "-", in}, Tone::dim);
        else
            table.add({time_text(version.time, looks), name,
                       change_text(first.text("change"), kind), size_cell(record, looks),
                       time_text(mtime_usec(record), looks), in});
    }
    context.table(table);
    if (!looks.legend || context.quiet()) return;
    print_hint(context, history, several_sets);
}

Result<ExitCode> run(Context& context) {
    PathHistory history;
    history.path = TRY(absolute_here(context.args().positionals()[0]));
    Client* client = TRY(context.client());
    std::vector<std::string> named;
    if (auto set = context.args().value("--set")) named.push_back(*set);
    const auto sets = TRY(find_sets(*client, named));
    if (sets.empty()) return no_sets(*client);
    Dict options;
    if (auto host = context.args().value("--host")) {
        options.set("host", Value(*host));
        options.set("any-set", Value(named.empty()));
    }
    std::optional<Error> problem;
    bool answered = false;
    for (const SetRef& set : sets) {
        auto read = read_set(*client, set, options, history);
        if (read.ok()) {
            answered = true;
            continue;
        }
        // "Not here" is the least telling answer of several.
        if (!problem || problem->code() == ErrorCode::no_such_path)
            problem = std::move(read).error();
        if (problem->code() == ErrorCode::daemon_unreachable) return *problem;
    }
    const bool nothing = history.versions.empty() &&
                         (!history.disk || (history.disk->text("disk") != "unprotected" &&
                                            history.disk->text("disk") != "excluded" &&
                                            history.disk->text("disk") != "protected"));
    if (nothing && !(answered && history.disk && history.disk->has("type"))) {
        if (problem && problem->code() != ErrorCode::no_such_path) return *problem;
        return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                     "no revision has " + printable(history.path) +
                         "\nlook for it by name: backupctl find " +
                         shell_word(history.path.substr(history.path.rfind('/') + 1)));
    }
    tidy(history.versions);
    if (context.json()) {
        print_json(context, history);
        return ExitCode::done;
    }
    for (const auto& [set, why] : history.behind)
        context.warn("backupctl: set " + set + ": there may be newer revisions: " + printable(why));
    if (history.versions.empty())
        context.note("no revision has " + printable(history.path) + " yet");
    print_text(context, history, sets.size() > 1);
    return ExitCode::done;
}

}  // namespace

Command history_command() {
    return {
        .verb = "history",
        .aliases = {"versions"},
        .summary = "the distinct versions of one path, newest first",
        .description =
            "Tells which versions of a path there are, since which revision, in how many, and when "
            "it was deleted; and whether what is on the disk is not yet protected. Answered from a "
            "local index, also while the repository cannot be reached. Without --set in all sets.",
        .positionals = {{"PATH", true, false, Completion::file}},
        .options = {{.name = "--set",
                     .value = "SET",
                     .help = "only in this set",
                     .completion = Completion::set},
                    {.name = "--host",
                     .value = "HOST",
                     .help = "the versions of this machine (\"*\": of any)"},
                    kAllUsers},
        .examples = {{"backupctl history ~/letters/ada.txt", "which versions are there?"},
                     {"backupctl --json history /etc/fstab | jq '.versions[0].time'",
                      "for a script"}},
        .run = run};
}

}  // namespace backup
