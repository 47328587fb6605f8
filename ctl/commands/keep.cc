// pin, unpin, forget, trash: which revisions stay.
#include <algorithm>
#include <iterator>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/resolve.h"
#include "ctl/stream.h"

namespace backup {

namespace {

constexpr const char* kTrashHint = "take one back: backupctl trash restore REV";

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

Result<std::vector<RevisionRef>> revisions_of(const Context& context, Client& client) {
    std::vector<RevisionRef> revisions;
    for (const auto& word : context.args().positionals()) {
        RevisionArgument argument = TRY(parse_revision_argument(word));
        RevisionRef found = TRY(find_revision(client, argument, context.args().value("--set")));
        bool is_known = std::any_of(revisions.begin(), revisions.end(),
                                    [&](const RevisionRef& one) { return one.id == found.id; });
        if (!is_known) revisions.push_back(std::move(found));
    }
    return revisions;
}

Result<ExitCode> change_pin(Context& context, bool pinned) {
    Client* client = TRY(context.client());
    std::vector<JsonObject> objects;
    for (RevisionRef& revision : TRY(revisions_of(context, *client))) {
        revision.id =
            TRY_DURING(client->pin(revision.set.object, revision.id, pinned), revision.name());
        objects.push_back(revision_object(context, revision));
        if (!context.json() && !context.quiet())
            context.line(revision.name() + (pinned ? " is pinned" : " is not pinned any more"));
    }
    if (context.json())
        context.print(context.object("pin").add("pinned", pinned).add("revisions", objects));
    return ExitCode::done;
}

Result<ExitCode> pin(Context& context) {
    return change_pin(context, true);
}
Result<ExitCode> unpin(Context& context) {
    return change_pin(context, false);
}

// ---- forget

struct Verdict {
    std::string id, rules;
    std::uint64_t number = 0, time_usec = 0;
    bool keep = true;
};
struct Plan {
    SetRef set;
    std::vector<Verdict> verdicts;
    std::size_t to_forget() const {
        return static_cast<std::size_t>(
            std::count_if(verdicts.begin(), verdicts.end(), [](auto& v) { return !v.keep; }));
    }
};

Result<Plan> read_plan(Client& client, const SetRef& set) {
    auto listed = client.plan_retention(set.object);
    if (!listed.ok()) return std::move(listed).error();
    Stream stream(std::move(*listed));
    Plan plan{set, {}};
    while (auto record = TRY(stream.next()))
        plan.verdicts.push_back({record->text("id"), record->text("rules"),
                                 record->number("number"), record->number("time"),
                                 record->flag("keep")});
    return plan;
}

JsonObject plan_object(const Context& context, const Plan& plan) {
    JsonObject object;
    std::vector<JsonObject> list;
    for (const Verdict& verdict : plan.verdicts) {
        JsonObject one;
        one.add("id", verdict.id).add("number", verdict.number);
        context.add_time(one, "time", verdict.time_usec);
        std::vector<std::string> rules;
        for (std::size_t at = 0; at < verdict.rules.size();) {
            std::size_t end = std::min(verdict.rules.find(", ", at), verdict.rules.size());
            rules.push_back(verdict.rules.substr(at, end - at));
            at = end + 2;
        }
        list.push_back(one.add("keep", verdict.keep).add("rules", rules));
    }
    return object.add("set", plan.set.id).add("forget", plan.to_forget()).add("revisions", list);
}

std::string rules_text(const Verdict& verdict) {
    if (!verdict.keep) return "no rule keeps it";
    if (verdict.rules == "no-rules") return "the set has no rules: everything is kept";
    if (verdict.rules == "frozen") return "nothing is forgotten while a source is missing";
    if (verdict.rules == "time") return "its time cannot be right: no rule judges it";
    return verdict.rules;
}

void print_plan(Context& context, const Plan& plan) {
    const Looks& looks = context.looks();
    Table table({{"REVISION", Column::Align::left, Column::Fit::shrink_middle},
                 {"TIME"},
                 {"VERDICT"},
                 {"RULES", Column::Align::left, Column::Fit::shrink_end}});
    for (const Verdict& verdict : plan.verdicts)
        table.add({plan.set.id + "/" + std::to_string(verdict.number),
                   time_text(verdict.time_usec, looks), verdict.keep ? "keep" : "forget",
                   rules_text(verdict)},
                  verdict.keep ? Tone::plain : Tone::warn);
    context.table(table);
    if (looks.legend && !context.quiet())
        context.line(plan.set.id + ": " +
                     count_text(plan.verdicts.size() - plan.to_forget(), "revision stays",
                                "revisions stay") +
                     ", " + count_text(plan.to_forget()) + " to forget");
}

Result<ExitCode> forget_all(Context& context, Client& client,
                            const std::vector<std::pair<SetRef, std::vector<std::string>>>& sets,
                            const std::string& question) {
    TRY(context.confirm(question));
    TRY(client.watch_jobs());
    std::vector<std::string> jobs;
    for (const auto& [set, ids] : sets)
        jobs.push_back(TRY_DURING(client.delete_revisions(set.object, ids), "set " + set.id));
    FollowOptions follow;
    follow.wait = context.wait_mode() != WaitMode::no_wait;
    auto done = follow_jobs(context, jobs, follow);
    if (done.ok() && *done == ExitCode::done && !context.json()) context.note(kTrashHint);
    return done;
}

Result<ExitCode> forget_by_policy(Context& context, Client& client) {
    std::vector<Plan> plans;
    std::vector<std::pair<SetRef, std::vector<std::string>>> doomed;
    std::size_t count = 0;
    for (const SetRef& set : TRY(find_sets(client, context.args().positionals()))) {
        plans.push_back(TRY_DURING(read_plan(client, set), "set " + set.id));
        const Plan& plan = plans.back();
        if (plan.to_forget() == 0) continue;
        count += plan.to_forget();
        doomed.push_back({set, {}});
        for (const Verdict& verdict : plan.verdicts)
            if (!verdict.keep) doomed.back().second.push_back(verdict.id);
    }
    if (context.json() && (context.dry_run() || doomed.empty())) {
        std::vector<JsonObject> objects;
        for (const Plan& plan : plans) objects.push_back(plan_object(context, plan));
        context.print(context.object("retention").add("forget", count).add("sets", objects));
    }
    if (!context.json() && (context.dry_run() || !context.quiet()))
        for (const Plan& plan : plans) print_plan(context, plan);
    if (context.dry_run() || doomed.empty()) return ExitCode::done;
    return forget_all(context, client, doomed,
                      "Move " + count_text(count, "revision", "revisions") + " to the trash?");
}

Result<ExitCode> forget(Context& context) {
    const bool by_policy = context.args().flag("--policy");
    if (!by_policy && context.args().positionals().empty())
        return usage("name the revisions to forget, or --policy\nusage: " +
                     usage_line(*find_command("forget")));
    Client* client = TRY(context.client());
    if (by_policy) return forget_by_policy(context, *client);
    std::vector<std::pair<SetRef, std::vector<std::string>>> sets;
    std::string names;
    std::vector<JsonObject> objects;
    for (const RevisionRef& revision : TRY(revisions_of(context, *client))) {
        auto known = std::find_if(sets.begin(), sets.end(),
                                  [&](const auto& one) { return one.first.id == revision.set.id; });
        if (known == sets.end()) known = sets.insert(sets.end(), {revision.set, {}});
        known->second.push_back(revision.id);
        names += (names.empty() ? "" : ", ") + revision.name();
        objects.push_back(revision_object(context, revision));
    }
    if (context.dry_run()) {
        if (context.json())
            context.print(context.object("forget").add("dry_run", true).add("revisions", objects));
        else
            context.line("Would move to the trash: " + names);
        return ExitCode::done;
    }
    return forget_all(context, *client, sets, "Move " + names + " to the trash?");
}

// ---- trash

Result<std::vector<Dict>> read_trash(Client& client, const std::vector<SetRef>& sets) {
    std::vector<Dict> trashed;
    for (const SetRef& set : sets) {
        Dict options;
        options.set("state", "trashed");
        options.set("limit", Value(std::uint32_t{500}));
        for (;;) {
            auto page =
                TRY_DURING(client.list_revisions(set.object, "Set", options), "set " + set.id);
            trashed.insert(trashed.end(), page.list.begin(), page.list.end());
            if (page.next_page.empty()) break;
            options.set("page", Value(page.next_page));
        }
    }
    return trashed;
}

Result<ExitCode> trash_list(Context& context) {
    Client* client = TRY(context.client());
    const auto sets = TRY(find_sets(*client, context.args().positionals()));
    const auto trashed = TRY(read_trash(*client, sets));
    if (context.json()) {
        std::vector<JsonObject> objects;
        for (const Dict& r : trashed) {
            JsonObject object;
            object.add("id", r.text("id"))
                .add("number", r.number("number"))
                .add("set", r.text("set"));
            context.add_time(object, "time", r.number("time"));
            context.add_time(object, "forgotten", r.number("forgotten"));
            objects.push_back(object);
        }
        context.print(context.object("trash").add("revisions", objects));
        return ExitCode::done;
    }
    Table table({{"REVISION", Column::Align::left, Column::Fit::shrink_middle},
                 {"TIME"},
                 {"FORGOTTEN"},
                 {"ID"}});
    for (const Dict& r : trashed)
        table.add({r.text("set") + "/" + std::to_string(r.number("number")),
                   time_text(r.number("time"), context.looks()),
                   time_text(r.number("forgotten"), context.looks()), r.text("id").substr(0, 8)});
    if (table.empty()) context.note("The trash is empty.");
    context.table(table);
    return ExitCode::done;
}

Result<ExitCode> trash_restore(Context& context) {
    Client* client = TRY(context.client());
    std::uint64_t restored = 0;
    for (const RevisionRef& revision : TRY(revisions_of(context, *client))) {
        std::uint32_t count =
            TRY_DURING(client->restore_trash(revision.set.object, {revision.id}), revision.name());
        restored += count;
        if (!context.json() && !context.quiet())
            context.line(revision.name() +
                         (count > 0 ? " is back" : " is not in the trash: nothing to do"));
    }
    if (context.json()) context.print(context.object("trash-restore").add("restored", restored));
    return ExitCode::done;
}

OptionSpec set_option() {
    return {.name = "--set",
            .value = "SET",
            .help = "the set that the numbers belong to",
            .completion = Completion::set};
}

}  // namespace

std::vector<Command> keep_commands() {
    const PositionalSpec kRevisions{"REV", true, true, Completion::revision};
    return {
        {.verb = "pin",
         .summary = "keep a revision whatever the rules say",
         .description = "Nothing forgets a pinned revision until it is unpinned. One in the trash "
                        "is taken out of it.",
         .positionals = {kRevisions},
         .options = {set_option()},
         .examples = {{"backupctl pin home/7", "before the great clean-up"}},
         .run = pin},
        {.verb = "unpin",
         .summary = "let the rules judge it again",
         .positionals = {kRevisions},
         .options = {set_option()},
         .run = unpin},
        {.verb = "forget",
         .summary = "move revisions to the trash, by name or by rules",
         .description =
             "Forgotten revisions are not listed any more and can be taken back for a while "
             "(`trash`). With --policy the rules of the sets decide (set edit --keep); the list "
             "says which rule keeps each. What nothing needs any more is removed later, by gc.",
         .positionals = {{"REV", false, true, Completion::revision}},
         .options = {{.name = "--policy",
                      .help = "what no rule of the set keeps; the arguments name sets then"},
                     set_option()},
         .examples = {{"backupctl forget --policy --dry-run",
                       "what would go, and which rule keeps the rest"},
                      {"backupctl forget home/3 home/4", "these two"}},
         .stream = true,
         .stream_kind = "forget",
         .run = forget},
        {.verb = "trash list",
         .summary = "what was forgotten and can be taken back",
         .positionals = {{"SET", false, true, Completion::set}},
         .run = trash_list},
        {.verb = "trash restore",
         .summary = "take revisions back out of the trash",
         .positionals = {kRevisions},
         .options = {set_option()},
         .run = trash_restore}};
}

}  // namespace backup
