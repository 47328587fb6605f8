// ls: what a revision holds.
#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/commands/deleted.h"
#include "ctl/context.h"
#include "ctl/found_words.h"
#include "ctl/resolve.h"
#include "ctl/stream.h"

namespace backup {

namespace {

// "drwxr-xr-x"
std::string mode_text(const std::string& type, std::uint64_t mode) {
    std::string text = type == "f" || type.empty() ? "-" : type;
    for (int shift : {6, 3, 0}) {
        std::uint64_t bits = mode >> shift & 7;
        text += (bits & 4) != 0 ? 'r' : '-';
        text += (bits & 2) != 0 ? 'w' : '-';
        text += (bits & 1) != 0 ? 'x' : '-';
    }
    auto special = [&](std::size_t at, std::uint64_t bit, char with_x, char without_x) {
        if ((mode & bit) != 0) text[at] = text[at] == 'x' ? with_x : without_x;
    };
    special(3, 04000, 's', 'S');
    special(6, 02000, 's', 'S');
    special(9, 01000, 't', 'T');
    return text;
}

std::string absolute_of(const std::string& base, const std::string& relative) {
    if (relative.empty()) return base;
    return base == "/" ? "/" + relative : base + "/" + relative;
}

std::string owner_text(const Record& entry, const char* name, const char* number) {
    std::string text = entry.text(name);
    return text.empty() ? std::to_string(entry.number(number)) : printable(text);
}

class Lister {
  public:
    Lister(Context& context, std::string base) : context_(context), base_(std::move(base)) {}

    void add(const Record& entry) {
        ++count_;
        std::string path = entry.bytes("path");
        if (context_.json()) {
            context_.print(object_of(entry, path));
            return;
        }
        // Of a single file the argument itself is the name.
        std::string name = path.empty() ? base_ : path;
        if (context_.null_terminated()) {
            context_.raw(name + '\0');
            return;
        }
        std::string type = entry.text("type");
        std::string shown = printable(name) + (type == "d" ? "/" : "");
        if (!context_.args().flag("--long")) {
            context_.line(shown);
            return;
        }
        if (type == "l") shown += " -> " + printable(entry.bytes("target"));
        table_.add(
            {mode_text(type, entry.number("mode")), owner_text(entry, "user", "uid"),
             owner_text(entry, "group", "gid"),
             type == "f" ? size_text(entry.number("size"), context_.looks()) : "-",
             time_text(static_cast<std::uint64_t>(
                           entry.integer("mtime_ns") > 0 ? entry.integer("mtime_ns") / 1000 : 0),
                       context_.looks()),
             shown});
        // A million entries should not wait in memory for the widest name.
        constexpr std::uint64_t kBatch = 1000;
        if (++pending_ >= kBatch) flush();
    }
    void flush() {
        Looks looks = context_.looks();
        looks.legend = false;
        for (const auto& line : table_.lines(looks)) context_.line(line);
        table_ = make_table();
        pending_ = 0;
    }
    std::uint64_t count() const { return count_; }

  private:
    static Table make_table() {
        using Align = Column::Align;
        return Table({{"MODE"},

                      {"USER"},
                      {"GROUP"},
                      {"SIZE", Align::right},
                      {"MODIFIED"},
                      {"NAME"}});
    }
    JsonObject object_of(const Record& entry, const std::string& path) const {
        JsonObject object = context_.object("entry");
        object.add("kind", kind_of_letter(entry.text("type")));
        object.add_bytes("path", absolute_of(base_, path)).add("size", entry.number("size"));
        std::int64_t mtime = entry.integer("mtime_ns");
        object.add("mtime", context_.json_time(Timestamp(std::chrono::nanoseconds(mtime))))
            .add("mode", entry.number("mode"))
            .add("uid", entry.number("uid"))
            .add("user", entry.text("user"))
            .add("gid", entry.number("gid"))
            .add("group", entry.text("group"));
        if (entry.text("type") == "l") object.add_bytes("target", entry.bytes("target"));
        if (entry.has("links")) object.add("links", entry.number("links"));
        return object;
    }

    Context& context_;
    std::string base_;
    Table table_ = make_table();
    std::uint64_t count_ = 0, pending_ = 0;
};

Result<ExitCode> run(Context& context) {
    const auto& words = context.args().positionals();
    PathArgument argument = parse_path_argument(words.empty() ? "." : words[0]);
    if (context.args().flag("--deleted") &&
        (argument.revision || context.args().value("--revision")))
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "--deleted looks at all revisions; up to a time: --at");
    Selection selection = TRY(selection_of(context, argument.revision));
    std::string path = argument.path.empty() ? std::string("/") : TRY(absolute_here(argument.path));
    if (context.args().flag("--deleted")) return list_deleted(context, path);
    Client* client = TRY(context.client());
    RevisionRef revision = TRY(choose_revision(context, *client, path, selection));
    warn_of_damage(context, *client, {revision.set});
    Dict options;
    options.set("recursive", Value(context.args().flag("--recursive")));
    Stream stream(TRY(client->list_files(revision.set.object, revision.id, path, options)));
    if (context.json()) {
        JsonObject head = context.object("listing");
        head.add_bytes("path", path).add("revision", revision_object(context, revision));
        context.print(head);
    } else if (context.looks().legend) {
        context.note(printable(path) + " in " + describe(revision, context.looks()));
    }
    Lister lister(context, path);
    while (true) {
        auto record = stream.next();
        if (!record.ok()) return with_history_hint(std::move(record).error(), path);
        if (!*record) break;
        lister.add(**record);
    }
    lister.flush();
    if (context.json())
        context.print(context.object("result")
                          .add("kind", "ls")
                          .add("outcome", "complete")
                          .add("revision", revision.id)
                          .add("counts", JsonObject().add("entries", lister.count()))
                          .add("exit_code", 0));
    return ExitCode::done;
}

}  // namespace

Command ls_command() {
    return {
        .verb = "ls",
        .summary = "what a revision holds",
        .description =
            "Lists a folder, or a single file, as it was. Without a path: the current directory. "
            "REV: alone lists from the root. "
            "Where nothing names a revision it is the latest of the set that covers the path; the "
            "one used is always told.",
        .positionals = {{"[REV:]PATH", false, false, Completion::file}},
        .options =
            {{.name = "--at",
              .value = "TIME",
              .help = "as it was then (yesterday, \"2 hours ago\", 2026-11-20)"},
             {.name = "--long", .letter = 'l', .help = "with mode, owner, size and time"},
             {.name = "--recursive", .letter = 'R', .help = "everything below, too"},
             {.name = "--deleted", .help = "what was there once and is not any more"},
             {.name = "--revision",
              .value = "REV",
              .help = "the revision",
              .completion = Completion::revision},
             {.name = "--set", .value = "SET", .help = "the set", .completion = Completion::set},
             {.name = "--host", .value = "HOST", .help = "the latest from this machine"},
             kAllUsers},
        .examples = {{"backupctl ls -l ~/Documents --at yesterday", "a folder as it was"},
                     {"backupctl ls home/7:/etc", "in one revision"},
                     {"backupctl ls --deleted ~/Documents", "what was deleted from a folder"},
                     {"backupctl ls -R -0 latest:/home/a | xargs -0 ...",
                      "names in any bytes, for programs"}},
        .stream = true,
        .stream_kind = "ls",
        .run = run};
}

}  // namespace backup
