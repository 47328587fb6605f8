// find: where a name is, or was. And what was deleted from a folder.
#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/commands/deleted.h"
#include "ctl/context.h"
#include "ctl/found_words.h"
#include "ctl/resolve.h"
#include "ctl/stream.h"
#include "ctl/time_words.h"

namespace backup {

namespace {

class Finder {
  public:
    explicit Finder(Context& context) : context_(context) {}

    void add(const Record& entry) {
        ++count_;
        if (context_.json()) return context_.print(object_of(entry));
        const std::string path = entry.bytes("path");
        if (context_.null_terminated()) return context_.raw(path + '\0');
        const Looks& looks = context_.looks();
        const bool deleted = entry.flag("deleted");
        const std::string name =
            revision_name(entry.text("set"), entry.number("number"), entry.text("revision"));
        const std::string type = entry.text("type");
        const std::string shown = printable(path) + (type == "d" ? "/" : "");
        if (!context_.args().flag("--long")) {
            std::string line = shown;
            if (deleted)
                line += paint("  (deleted; last in " + name + " of " +
                                  time_text(entry.number("time"), looks) + ")",
                              Tone::dim, looks);
            return context_.line(line);
        }
        table_.add({deleted ? "deleted" : "there", kind_of_letter(type),
                    type == "f" ? size_text(entry.number("size"), looks) : "-",
                    time_text(mtime_usec(entry), looks), name,
                    time_text(entry.number("time"), looks), shown});
        constexpr std::uint64_t kBatch = 1000;
        if (++pending_ >= kBatch) flush();
    }

    void flush() {
        Looks looks = context_.looks();
        looks.legend = looks.legend && !flushed_;
        for (const auto& line : table_.lines(looks)) context_.line(line);
        table_ = make_table();
        flushed_ = flushed_ || pending_ > 0;
        pending_ = 0;
    }

    std::uint64_t count() const { return count_; }

  private:
    static Table make_table() {
        return Table({{"STATE"},
                      {"KIND"},
                      {"SIZE", Column::Align::right},
                      {"MODIFIED"},
                      {"REVISION"},
                      {"SAVED"},
                      {"PATH"}});
    }

    JsonObject object_of(const Record& entry) const {
        JsonObject object = context_.object("entry");
        object.add_bytes("path", entry.bytes("path"))
            .add("kind", kind_of_letter(entry.text("type")))
            .add("deleted", entry.flag("deleted"))
            .add("size", entry.number("size"))
            .add("mtime", mtime_json(context_, entry))
            .add("mode", entry.number("mode"))
            .add("uid", entry.number("uid"))
            .add("gid", entry.number("gid"))
            .add("revision", entry.text("revision"))
            .add("number", entry.number("number"));
        context_.add_time(object, "revision_time", entry.number("time"));
        return object.add("revisions", entry.number("revisions"))
            .add_bytes("set", entry.bytes("set"))
            .add_bytes("host", entry.bytes("host"));
    }

    Context& context_;
    Table table_ = make_table();
    std::uint64_t count_ = 0, pending_ = 0;
    bool flushed_ = false;
};

Result<> add_scope(Context& context, Dict& options) {
    if (auto host = context.args().value("--host")) {
        options.set("host", Value(*host));
        options.set("any-set", Value(!context.args().value("--set").has_value()));
    }
    if (auto at = context.args().value("--at")) {
        TimeSpan span = TRY(parse_time_words(*at, context.now()));
        options.set("at", Value(to_usec(span.latest ? context.now() : span.last)));
    }
    return {};
}

Result<> find_in(Client& client, const SetRef& set, const std::string& pattern, const Dict& options,
                 Context& context, Finder& finder) {
    auto opened = client.find(set.object, pattern, options);
    if (!opened.ok()) return std::move(opened).error();
    Stream stream(std::move(*opened));
    while (auto record = TRY(stream.next())) {
        if (record->has("behind"))
            context.warn("backupctl: set " + set.id +
                         ": there may be newer revisions: " + printable(record->text("behind")));
        else
            finder.add(*record);
    }
    return {};
}

// In the named set, else in all of them; one that cannot tell costs the others nothing.
Result<ExitCode> find_everywhere(Context& context, const std::string& kind,
                                 const std::string& pattern, const Dict& options) {
    Client* client = TRY(context.client());
    std::vector<std::string> named;
    if (auto set = context.args().value("--set")) named.push_back(*set);
    const auto sets = TRY(find_sets(*client, named));
    if (sets.empty()) return no_sets(*client);
    Finder finder(context);
    std::optional<Error> problem;
    bool answered = false;
    for (const SetRef& set : sets) {
        auto found = find_in(*client, set, pattern, options, context, finder);
        if (found.ok()) {
            answered = true;
            continue;
        }
        if (found.error().code() == ErrorCode::invalid_arguments) return std::move(found).error();
        if (!problem || problem->code() == ErrorCode::no_such_path)
            problem = std::move(found).error();
    }
    finder.flush();
    const bool is_partial = problem && problem->code() != ErrorCode::no_such_path;
    if (problem && (!answered || is_partial)) return *problem;
    if (context.json())
        context.print(context.object("result")
                          .add("kind", kind)
                          .add("outcome", "complete")
                          .add("counts", JsonObject().add("entries", finder.count()))
                          .add("exit_code", 0));
    else if (finder.count() == 0)
        context.note("nothing found");
    return ExitCode::done;
}

Result<ExitCode> run(Context& context) {
    const std::string& pattern = context.args().positionals()[0];
    Dict options;
    TRY(add_scope(context, options));
    if (auto since = context.args().value("--since")) {
        TimeSpan span = TRY(parse_time_words(*since, context.now()));
        if (!span.latest) options.set("since", Value(to_usec(span.first)));
    }
    if (context.args().flag("--at") && context.args().flag("--since"))
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "--at and --since exclude each other");
    if (auto below = context.args().value("--below"))
        options.set("below", Value(FileName{TRY(absolute_here(*below))}));
    if (context.args().flag("--deleted")) options.set("deleted", Value(true));
    if (context.args().flag("--ignore-case")) options.set("ignore-case", Value(true));
    return find_everywhere(context, "find", pattern, options);
}

}  // namespace

Result<ExitCode> list_deleted(Context& context, const std::string& path) {
    Dict options;
    TRY(add_scope(context, options));
    options.set("below", Value(FileName{path}));
    options.set("entries", Value(!context.args().flag("--recursive")));
    options.set("deleted", Value(true));
    return find_everywhere(context, "ls", "*", options);
}

Command find_command() {
    return {
        .verb = "find",
        .summary = "where a name is or was, in all revisions",
        .description =
            "Looks for names (*, ? and [...] as in a shell; quote them) among all paths of all "
            "revisions, the deleted ones too. A pattern with a slash is compared with the whole "
            "path, where ** spans folders. Answered from a local index, also while the repository "
            "cannot be reached.",
        .positionals = {{"PATTERN", true, false, Completion::nothing}},
        .options =
            {{.name = "--at",
              .value = "TIME",
              .help = "as it was then: nothing newer, nothing deleted"},
             {.name = "--since",
              .value = "TIME",
              .help = "only what came, changed or was deleted since then"},
             {.name = "--deleted", .help = "only what is not there any more"},
             {.name = "--ignore-case", .letter = 'i', .help = "a is A"},
             {.name = "--below",
              .value = "DIR",
              .help = "only within this folder",
              .completion = Completion::directory},
             {.name = "--long", .letter = 'l', .help = "with kind, size, times and revision"},
             {.name = "--set", .value = "SET", .help = "the set", .completion = Completion::set},
             {.name = "--host", .value = "HOST", .help = "of this machine (\"*\": of any)"},
             kAllUsers},
        .examples = {{"backupctl find ada.txt", "where was that letter?"},
                     {"backupctl find '*.odt' --deleted --since yesterday", "what did I delete?"},
                     {"backupctl find '/home/*/.ssh/**' --at 2026-11-20 -l", "by path, as it was"}},
        .stream = true,
        .stream_kind = "find",
        .run = run};
}

}  // namespace backup
