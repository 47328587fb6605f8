// diff: what differs between two revisions, or between a revision and the disk.
#include <map>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/found_words.h"
#include "ctl/resolve.h"
#include "ctl/stream.h"

namespace backup {

namespace {

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

struct Side {
    std::optional<RevisionArgument> revision;
    std::optional<std::string> path;
};

// "home/7:/etc", "home/7", "/etc". What reads as a revision is one; "./7" is a file of that name.
Result<Side> side_of(const std::string& text) {
    PathArgument argument = parse_path_argument(text);
    Side side;
    if (argument.revision) {
        side.revision = argument.revision;
        if (!argument.path.empty()) side.path = TRY(absolute_here(argument.path));
        return side;
    }
    const bool is_path = !text.empty() && (text.front() == '/' || text.front() == '.');
    auto revision = parse_revision_argument(text);
    if (!is_path && revision.ok())
        side.revision = *revision;
    else
        side.path = TRY(absolute_here(text));
    return side;
}

struct Compared {
    RevisionRef from;
    std::optional<RevisionRef> to;
    std::string path;
};

class Differ {
  public:
    explicit Differ(Context& context) : context_(context) {}

    Result<> run(Client& client, const Compared& compared) {
        const std::string to = compared.to ? compared.to->id : std::string();
        auto opened = client.diff(compared.from.set.object, compared.from.id, to, compared.path);
        if (!opened.ok()) return std::move(opened).error();
        Stream stream(std::move(*opened));
        tell_head(compared);
        while (auto record = TRY(stream.next()))
            if (!record->has("from")) tell(*record);
        return {};
    }

    std::uint64_t count(const char* change) const {
        auto found = counts_.find(change);
        return found == counts_.end() ? 0 : found->second;
    }
    JsonObject counts() const {
        JsonObject object;
        for (const char* change : {"added", "removed", "content", "metadata", "kind", "problem"})
            object.add(change == std::string("problem") ? "problems" : change, count(change));
        return object;
    }
    std::string summary() const {
        std::string text;
        const auto add = [&](const char* change, const char* word) {
            if (count(change) != 0)
                text += (text.empty() ? "" : ", ") + count_text(count(change)) + " " + word;
        };
        add("added", "added");
        add("removed", "removed");
        add("content", "changed");
        add("metadata", "in metadata only");
        add("kind", "of another kind");
        add("problem", "could not be compared");
        return text.empty() ? "no difference" : text;
    }

  private:
    void tell_head(const Compared& compared) {
        if (context_.json()) {
            JsonObject head = context_.object("diff");
            head.add_bytes("path", compared.path)
                .add("from", revision_object(context_, compared.from));
            if (compared.to)
                head.add("to", revision_object(context_, *compared.to));
            else
                head.add_null("to");
            return context_.print(head);
        }
        if (!context_.looks().legend) return;
        const Looks& looks = context_.note_looks();
        const std::string where =
            compared.path == "/" ? compared.from.set.id : printable(compared.path);
        context_.note(where + ": from " + describe(compared.from, looks) + " to " +
                      (compared.to ? describe(*compared.to, looks) : "what is on the disk"));
    }

    void tell(const Record& record) {
        const std::string change = record.has("problem") ? "problem" : record.text("change");
        ++counts_[change];
        const std::string path = record.bytes("path");
        if (context_.json()) return context_.print(object_of(record, change, path));
        if (change == "problem")
            return context_.warn("backupctl: " + printable(path) + ": " +
                                 printable(record.text("problem")));
        if (context_.null_terminated()) return context_.raw(path + '\0');
        const Looks& looks = context_.looks();
        const std::string type = record.text("type");
        std::string text = printable(path) + (type == "d" ? "/" : "");
        if (change == "content" && type == "f" &&
            record.number("size") != record.number("old_size"))
            text += "  (" + size_text(record.number("old_size"), looks) + " to " +
                    size_text(record.number("size"), looks) + ")";
        else if (change == "kind")
            text += "  (" + kind_of_letter(record.text("old_type")) + " to " +
                    kind_of_letter(type) + ")";
        else if (type == "f" && (change == "added" || change == "removed"))
            text += "  (" + size_text(record.number("size"), looks) + ")";
        std::string word = change == "content" ? "changed" : change;
        const Tone tone = change == "added"     ? Tone::good
                          : change == "removed" ? Tone::bad
                                                : Tone::warn;
        word.resize(9, ' ');
        context_.line(paint(word, tone, looks) + " " + text);
    }

    JsonObject object_of(const Record& record, const std::string& change,
                         const std::string& path) const {
        JsonObject object = context_.object("change");
        object.add_bytes("path", path).add("change", change);
        if (change == "problem") return object.add("problem", record.text("problem"));
        object.add("kind", kind_of_letter(record.text("type")))
            .add("size", record.number("size"))
            .add("mtime", mtime_json(context_, record))
            .add("mode", record.number("mode"));
        if (record.has("old_type"))
            object.add("old_kind", kind_of_letter(record.text("old_type")))
                .add("old_size", record.number("old_size"))
                .add("old_mtime", mtime_json(context_, record, "old_mtime_ns"));
        return object;
    }

    Context& context_;
    std::map<std::string, std::uint64_t, std::less<>> counts_;
};

Result<std::vector<Compared>> what_to_compare(Context& context, Client& client) {
    Side from, to;
    const auto& words = context.args().positionals();
    if (!words.empty()) from = TRY(side_of(words[0]));
    if (words.size() > 1) to = TRY(side_of(words[1]));
    if (words.size() > 1 && !to.revision)
        return usage("'" + printable(words[1]) +
                     "' does not name a revision\nbetween a revision "
                     "and the disk: backupctl diff [REV:]PATH");
    if (from.path && to.path && *from.path != *to.path)
        return usage("both sides name a path, and not the same one");
    const std::optional<std::string> path = from.path ? from.path : to.path;
    Selection selection = TRY(selection_of(context, from.revision));
    std::vector<Compared> all;
    const bool by_set = !path && !selection.revision && !selection.set;
    if (by_set) {
        const auto sets = TRY(find_sets(client, {}));
        if (sets.empty()) return no_sets(client);
        for (const SetRef& set : sets) {
            Selection one = selection;
            one.set = set.id;
            all.push_back({TRY(choose_revision(context, client, "/", one)), {}, "/"});
        }
    } else {
        const std::string at = path.value_or("/");
        all.push_back({TRY(choose_revision(context, client, at, selection)), {}, at});
    }
    if (!to.revision) return all;
    for (Compared& one : all)
        one.to = TRY(find_revision(
            client, *to.revision,
            to.revision->set.empty() ? std::optional<std::string>(one.from.set.id) : std::nullopt));
    return all;
}

Result<ExitCode> run(Context& context) {
    Client* client = TRY(context.client());
    const auto all = TRY(what_to_compare(context, *client));
    Differ differ(context);
    for (const Compared& one : all) TRY(differ.run(*client, one));
    const ExitCode code = differ.count("problem") != 0 ? ExitCode::exceptions : ExitCode::done;
    if (context.json())
        context.print(context.object("result")
                          .add("kind", "diff")
                          .add("outcome", code == ExitCode::done ? "complete" : "exceptions")
                          .add("counts", differ.counts())
                          .add("exit_code", static_cast<int>(code)));
    else if (context.looks().legend)
        context.note(differ.summary());
    return code;
}

}  // namespace

Command diff_command() {
    return {
        .verb = "diff",
        .summary = "what differs between two revisions, or a revision and the disk",
        .description =
            "Compares revision A with revision B, or with what is on the disk where there is no B; "
            "A is the latest where it is not named. Only what the set takes in counts. A folder's "
            "own times are not compared: its entries are. Files on the disk are compared by size "
            "and time, not by reading them.",
        .positionals = {{"[A[:PATH]]", false, false, Completion::file},
                        {"[B[:PATH]]", false, false, Completion::revision}},
        .options =
            {{.name = "--at", .value = "TIME", .help = "A is the revision of then"},
             {.name = "--revision",
              .value = "REV",
              .help = "A",
              .completion = Completion::revision},
             {.name = "--set", .value = "SET", .help = "the set", .completion = Completion::set},
             {.name = "--host", .value = "HOST", .help = "A is the latest from this machine"},
             kAllUsers},
        .examples = {{"backupctl diff", "what is not in the last revision as it is now"},
                     {"backupctl diff ~/letters --at yesterday", "what changed since"},
                     {"backupctl diff home/3:/etc home/7", "between two revisions"}},
        .stream = true,
        .stream_kind = "diff",
        .run = run};
}

}  // namespace backup
