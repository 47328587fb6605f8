// queue: what is not yet in a revision.
#include <algorithm>
#include <charconv>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/resolve.h"
#include "ctl/stream.h"
#include "ctl/tracking_words.h"

namespace backup {

namespace {

constexpr std::uint64_t kShown = 50;

// Nothing: all of them.
Result<std::optional<std::uint64_t>> most_of(const Context& context) {
    auto top = context.args().value("--top");
    if (!top) return context.json() ? std::nullopt : std::optional(kShown);
    if (*top == "all") return std::optional<std::uint64_t>();
    std::uint64_t most = 0;
    auto [end, error] = std::from_chars(top->data(), top->data() + top->size(), most);
    if (error != std::errc{} || end != top->data() + top->size() || most == 0)
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "--top takes a number from 1, or all; not '" + printable(*top) + "'");
    return std::optional(most);
}

struct Queue {
    SetRef set;
    TrackingFacts facts;
    std::string reason;
    std::vector<Record> entries;
};

Result<Queue> read_queue(Client& client, const SetRef& set, std::optional<std::uint64_t> most) {
    Queue queue{set, {}, {}, {}};
    Dict options;
    if (most) options.set("limit", Value(*most));
    // The entries first: what the counts say is then not older than what is listed.
    auto listed = client.list_queue(set.object, options);
    if (!listed.ok()) return std::move(listed).error();
    Stream stream(std::move(*listed));
    while (auto record = TRY(stream.next())) queue.entries.push_back(std::move(*record));
    queue.facts = tracking_facts(TRY(client.properties(set.object, "Set")));
    // What was looked at for the listing is a better estimate.
    std::uint64_t listed_bytes = 0;
    for (const Record& entry : queue.entries) listed_bytes += entry.number("bytes");
    queue.facts.bytes = std::max(queue.facts.bytes, listed_bytes);
    if (auto tracking = client.tracking(set.object); tracking.ok())
        queue.reason = tracking->status.text("reason");
    return queue;
}

JsonObject entry_object(const Context& context, const Record& entry) {
    JsonObject object;
    object.add_bytes("path", entry.bytes("path")).add("kind", entry.text("kind"));
    auto since = parse_rfc3339(entry.text("since"));
    context.add_time(object, "since", since.ok() ? to_usec(*since) : 0);
    return object.add("bytes", entry.number("bytes")).add("held", entry.flag("held"));
}

void add_queue(const Context& context, JsonObject& object, const Queue& queue) {
    object.add("set", queue.set.id);
    add_tracking(object, queue.facts, context.now());
    object.add("watching", queue.facts.watching);
    if (!queue.reason.empty()) object.add("reason", queue.reason);
    context.add_time(object, "protected_until", queue.facts.protected_until_usec);
    std::vector<JsonObject> entries;
    for (const Record& entry : queue.entries) entries.push_back(entry_object(context, entry));
    object.add("entries", entries);
}

void print_queue(Context& context, const Queue& queue, bool named) {
    if (context.null_terminated()) {
        for (const Record& entry : queue.entries) context.raw(entry.bytes("path") + '\0');
        return;
    }
    const Looks& looks = context.looks();
    Table table({{"AGE", Column::Align::right},
                 {"KIND"},
                 {"SIZE", Column::Align::right},
                 {"PATH", Column::Align::left, Column::Fit::shrink_middle}});
    for (const Record& entry : queue.entries) {
        auto since = parse_rfc3339(entry.text("since"));
        const std::string kind = entry.text("kind");
        table.add({since.ok() ? duration_text(seconds_since(to_usec(*since), context.now())) : "?",
                   kind + (entry.flag("held") ? ", open" : ""),
                   entry.number("bytes") == 0 ? "" : size_text(entry.number("bytes"), looks),
                   printable(entry.bytes("path"))});
    }
    context.table(table);
    if (!looks.legend || context.quiet()) return;
    const std::uint64_t shown = queue.entries.size();
    std::string summary = (named ? printable(queue.set.id) + ": " : std::string()) +
                          pending_sentence(queue.facts, context.now(), looks);
    context.line(summary);
    if (queue.facts.state != "off" && shown != 0 && queue.facts.pending > shown)
        context.line("Shown are the oldest " + count_text(shown) +
                     "; all of them: backupctl queue " + queue.set.id + " --top all");
    context.line(wrap_words("Tracking is " + tracking_sentence(queue.facts, queue.reason) + ".",
                            looks.width, 2));
}

Result<ExitCode> run(Context& context) {
    const auto most = TRY(most_of(context));
    Client* client = TRY(context.client());
    auto sets = TRY(find_sets(*client, context.args().positionals()));
    if (sets.empty()) return no_sets(*client);
    std::vector<Queue> queues;
    for (const auto& set : sets) queues.push_back(TRY(read_queue(*client, set, most)));
    if (context.json()) {
        JsonObject object = context.object("queue");
        if (queues.size() == 1) {
            add_queue(context, object, queues[0]);
        } else {
            std::vector<JsonObject> objects(queues.size());
            for (std::size_t i = 0; i < queues.size(); ++i)
                add_queue(context, objects[i], queues[i]);
            object.add("sets", objects);
        }
        context.print(object);
        return ExitCode::done;
    }
    for (std::size_t i = 0; i < queues.size(); ++i) {
        if (i != 0 && !context.null_terminated()) context.line("");
        print_queue(context, queues[i], queues.size() > 1);
    }
    return ExitCode::done;
}

}  // namespace

Command queue_command() {
    return {
        .verb = "queue",
        .summary = "what waits for the next revision: paths, sizes, ages",
        .description =
            "Lists what changed since the newest revision and is not in one yet, oldest first: how "
            "long it waits, what happened to it, its size. Kinds: created, modified, metadata, "
            "deleted, directory (its entries are looked at), subtree and everything (all below "
            "is).",
        .positionals = {{"SET", false, true, Completion::set}},
        .options = {{.name = "--top",
                     .value = "N",
                     .help = "only the N oldest; all: every one (50 for people, all in JSON)"}},
        .examples = {{"backupctl queue home", "what would be lost if the disk died now"},
                     {"backupctl queue home --top all -0 | xargs -0 ls -ld", "for other tools"}},
        .run = run};
}

}  // namespace backup
