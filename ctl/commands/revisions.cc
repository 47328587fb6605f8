// revisions: what can be restored.
#include <algorithm>
#include <set>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/resolve.h"
#include "ctl/time_words.h"

namespace backup {

namespace {

// When it was made, as far as the order in which revisions were made tells.
std::uint64_t placed(const Dict& r) {
    std::uint64_t time = r.number("placed");
    return time != 0 ? time : r.number("time");
}

JsonObject revision_object(const Context& context, const Dict& r, bool foreign) {
    JsonObject object;
    auto nullable = [&](const char* key, const std::string& value) {
        if (value.empty())
            object.add_null(key);
        else
            object.add(key, value);
    };
    object.add("id", r.text("id"))
        .add("number", r.number("number"))
        .add("set", r.text("set"))
        .add("state", r.text("state"));
    context.add_time(object, "time", r.number("time"));
    object.add("trigger", r.text("trigger")).add("mode", r.text("mode"));
    nullable("parent", r.text("parent"));
    object.add("items", r.number("items"))
        .add("bytes", r.number("bytes"))
        .add("new_bytes", r.number("new-bytes"))
        .add("exceptions", r.number("exceptions"))
        .add("pinned", r.flag("pinned"))
        .add("gap", r.flag("gap"));
    if (r.number("expires") > 0) context.add_time(object, "expires", r.number("expires"));
    if (foreign || !r.text("host").empty()) nullable("host", r.text("host"));
    if (foreign || !r.text("program").empty()) nullable("program", r.text("program"));
    if (!r.texts("tags").empty()) object.add("tags", r.texts("tags"));
    return object;
}

// All pages of one object, up to `limit`.
Result<> read_pages(Client& client, const std::string& object, const std::string& interface,
                    Dict options, std::uint64_t limit, std::vector<Dict>& into) {
    constexpr std::uint64_t kPage = 500;
    std::uint64_t taken = 0;
    while (taken < limit) {
        options.set("limit", Value(static_cast<std::uint32_t>(std::min(kPage, limit - taken))));
        auto page = TRY(client.list_revisions(object, interface, options));
        taken += page.list.size();
        into.insert(into.end(), page.list.begin(), page.list.end());
        if (page.next_page.empty() || page.list.empty()) break;
        options.set("page", Value(page.next_page));
    }
    return {};
}

Result<std::uint64_t> limit_of(const Context& context) {
    auto text = context.args().value("--limit");
    if (!text) return std::uint64_t{UINT64_MAX};
    if (text->empty() || text->size() > 9 ||
        text->find_first_not_of("0123456789") != std::string::npos || *text == "0")
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "--limit takes a number of revisions, not '" + printable(*text) + "'");
    return std::uint64_t{std::stoull(*text)};
}

Result<Dict> options_of(const Context& context) {
    Dict options;
    if (context.args().flag("--all")) options.set("state", "any");
    if (auto host = context.args().value("--host")) {
        options.set("host", Value(*host));
        options.set("foreign", Value(true));
    }
    if (auto since = context.args().value("--since")) {
        TimeSpan span = TRY(parse_time_words(*since, context.now()));
        options.set("since", Value(to_usec(span.first)));
    }
    auto until = context.args().value("--until");
    if (!until) until = context.args().value("--at");
    if (until) {
        TimeSpan span = TRY(parse_time_words(*until, context.now()));
        if (!span.latest) options.set("until", Value(to_usec(span.last)));
    }
    return options;
}

Result<std::vector<Dict>> read_revisions(Context& context, Client& client, bool foreign) {
    Dict options = TRY(options_of(context));
    std::uint64_t limit = TRY(limit_of(context));
    std::vector<std::string> names = context.args().positionals();
    if (auto set = context.args().value("--set")) names.push_back(*set);
    std::vector<Dict> revisions;
    if (foreign && names.empty()) {
        for (const auto& [name, object] : TRY(client.list_repositories()))
            TRY_DURING(read_pages(client, object, "Repository", options, limit, revisions),
                       "repository " + name);
    } else {
        if (foreign) options.set("foreign", Value(true));
        for (const auto& set : TRY(find_sets(client, names)))
            TRY_DURING(read_pages(client, set.object, "Set", options, limit, revisions),
                       "set " + set.id);
    }
    // Sets that share a repository list its foreign snapshots each.
    std::set<std::pair<std::string, std::string>> seen;
    std::erase_if(revisions, [&](const Dict& r) {
        return !seen.insert({r.text("id"), foreign ? "" : r.text("set")}).second;
    });
    std::stable_sort(revisions.begin(), revisions.end(),
                     [](const Dict& a, const Dict& b) { return placed(a) > placed(b); });
    if (revisions.size() > limit) revisions.resize(limit);
    return revisions;
}

Result<ExitCode> run(Context& context) {
    Client* client = TRY(context.client());
    bool foreign = context.args().flag("--foreign") || context.args().flag("--host");
    auto revisions = TRY(read_revisions(context, *client, foreign));
    warn_of_damage(context, *client, TRY(find_sets(*client, context.args().positionals())));
    if (context.json()) {
        std::vector<JsonObject> list;
        for (const auto& r : revisions) list.push_back(revision_object(context, r, foreign));
        context.print(context.object("revisions").add("revisions", list));
        return ExitCode::done;
    }
    using Align = Column::Align;
    using Fit = Column::Fit;
    Table table({{"REVISION", Align::left, Fit::shrink_middle},
                 {"TIME"},
                 {"ID"},
                 {"HOST", Align::left, Fit::shrink_middle},
                 {"PROGRAM", Align::left, Fit::shrink_end},
                 {"STATE"},
                 {"TRIGGER", Align::left, Fit::drop},
                 {"ITEMS", Align::right},
                 {"SIZE", Align::right},
                 {"NEW", Align::right},
                 {"REMARKS", Align::left, Fit::shrink_end}});
    const Looks& looks = context.looks();
    bool all = context.args().flag("--all");
    for (const auto& r : revisions) {
        // Numbers of what restores kept are those of jobs.
        const bool is_numbered = r.number("number") != 0 && r.text("state") != "pre-restore";
        std::string name =
            !is_numbered ? r.text("set") : r.text("set") + "/" + std::to_string(r.number("number"));
        std::string remarks;
        auto remark = [&](const std::string& text) {
            remarks += (remarks.empty() ? "" : ", ") + text;
        };
        if (r.number("exceptions") > 0)
            remark("! " + count_text(r.number("exceptions"), "exception", "exceptions"));
        if (r.text("mode") == "full") remark("full");
        if (r.flag("pinned")) remark("pinned");
        if (r.text("state") == "incomplete")
            remark("interrupted; the next run takes it up; kept until " +
                   time_text(r.number("expires"), looks));
        if (r.number("forgotten") > 0) remark("in the trash");
        if (r.flag("gap")) remark("with a gap");
        if (placed(r) != r.number("time")) remark("! the clock was wrong");
        bool known = r.number("items") > 0 || r.number("bytes") > 0;
        table.add(
            {name, time_text(r.number("time"), looks), r.text("id").substr(0, 8),
             foreign ? printable(r.text("host")) : "", foreign ? printable(r.text("program")) : "",
             all ? r.text("state") : "", r.text("trigger"),
             known ? count_text(r.number("items")) : "",
             known ? size_text(r.number("bytes"), looks) : "",
             known || r.number("new-bytes") > 0 ? size_text(r.number("new-bytes"), looks) : "",
             remarks},
            r.number("exceptions") > 0 || r.text("state") == "incomplete" ? Tone::warn
                                                                          : Tone::plain);
    }
    if (table.empty())
        context.note(TRY(find_sets(*client, {})).empty()
                         ? no_set_yet(*client)
                         : "No revisions yet. Make one: backupctl run");
    context.table(table);
    return ExitCode::done;
}

}  // namespace

Command revisions_command() {
    return {
        .verb = "revisions",
        .aliases = {"snapshots", "list"},
        .summary = "what can be restored, newest first",
        .description = "Lists the complete revisions of this machine's sets.",
        .positionals = {{"SET", false, true, Completion::set}},
        .options = {{.name = "--all", .help = "also incomplete ones and those in the trash"},
                    {.name = "--foreign",
                     .help = "everything in the repositories: other sets, hosts and programs, too"},
                    {.name = "--host", .value = "HOST", .help = "those of this host"},
                    {.name = "--set",
                     .value = "SET",
                     .help = "those of this set",
                     .completion = Completion::set},
                    {.name = "--since", .value = "TIME", .help = "not older"},
                    kAllUsers,
                    {.name = "--until", .value = "TIME", .help = "not newer"},
                    {.name = "--limit", .value = "N", .help = "the newest N of each set"}},
        .examples = {{"backupctl revisions home", "those of one set"},
                     {"backupctl revisions --foreign",
                      "what restic wrote into the same repositories, too"}},
        .run = run};
}

}  // namespace backup
