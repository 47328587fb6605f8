// explain: is this path protected, by what, and what stands in the way?
#include <algorithm>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/resolve.h"
#include "ctl/schedule_words.h"
#include "ctl/tracking_words.h"

namespace backup {

namespace {

using Explained = Client::Explanation;

const Dict* part(const Explained::Set& set, const char* name) {
    auto found = set.parts.find(name);
    return found == set.parts.end() ? nullptr : &found->second;
}

// ---- JSON

JsonObject rule_object(const Dict& rule) {
    JsonObject object;
    object.add("rule", rule.text("rule")).add_bytes("path", rule.text("path"));
    if (rule.has("pattern")) object.add_bytes("pattern", rule.text("pattern"));
    if (rule.has("origin")) object.add_bytes("origin", rule.text("origin"));
    return object;
}

JsonObject set_object(const Context& context, Client& client, const Explained::Set& set) {
    JsonObject object;
    object.add("set", set.facts.text("set"))
        .add("state", set.facts.text("state"))
        .add_bytes("root", set.facts.text("root"));
    for (const char* key : {"excluded", "taken-in"}) {
        const std::string name = std::string(key) == "excluded" ? "excluded" : "taken_in";
        if (const Dict* rule = part(set, key))
            object.add(name, rule_object(*rule));
        else
            object.add_null(name);
    }
    if (const Dict* pending = part(set, "pending")) {
        JsonObject waits;
        waits.add("kind", pending->text("kind"));
        context.add_time(waits, "since", pending->number("since"));
        waits.add("bytes", pending->number("bytes")).add("held", pending->flag("held"));
        object.add("pending", waits);
    } else {
        object.add_null("pending");
    }
    object.add("pending_below", set.facts.number("pending-below"));
    if (const Dict* version = part(set, "version")) {
        JsonObject found;
        found.add("revision", version->text("revision")).add("number", version->number("number"));
        context.add_time(found, "time", version->number("time"));
        found.add("kind", version->text("type")).add("size", version->number("size"));
        context.add_time(found, "mtime", version->number("modified"));
        object.add("version", found);
    } else {
        object.add_null("version");
    }
    if (set.facts.has("version-problem"))
        object.add("version_problem", set.facts.text("version-problem"));
    object.add("tracking", set.facts.text("tracking"));
    if (set.facts.has("tracking-reason")) object.add("reason", set.facts.text("tracking-reason"));
    object.add("blocked_by", set.facts.texts("blocked-by"));
    std::vector<Dict> waits;
    if (auto conditions = client.schedule(Client::set_object(set.facts.text("set")));
        conditions.ok())
        waits = unmet(*conditions);
    object.add("waiting", condition_objects(context, waits));
    context.add_time(object, "next_run", set.facts.number("next-run"));
    if (const Dict* limit = part(set, "limit"))
        object.add("limit", JsonObject()
                                .add("limit", limit->text("limit"))
                                .add("text", limit->text("text"))
                                .add("remedy", limit->text("remedy")));
    if (set.facts.has("question")) object.add("question", set.facts.text("question"));
    return object;
}

void print_json(Context& context, Client& client, const Explained& explained, ExitCode code) {
    const Dict& path = explained.path;
    JsonObject object = context.object("explain");
    object.add_bytes("path", path.text("path"))
        .add("state", path.text("state"))
        .add("exists", path.flag("exists"));
    if (path.flag("exists")) {
        object.add("kind", path.text("type")).add("size", path.number("size"));
        context.add_time(object, "mtime", path.number("modified"));
    }
    if (path.has("problem")) object.add("problem", path.text("problem"));
    std::vector<JsonObject> sets;
    for (const auto& set : explained.sets) sets.push_back(set_object(context, client, set));
    context.print(object.add("sets", sets).add("exit_code", static_cast<int>(code)));
}

// ---- text

class Teller {
  public:
    Teller(Context& context, Client& client, const Explained& explained)
        : context_(context),
          client_(client),
          explained_(explained),
          path_(printable(explained.path.text("path"))) {}

    void tell() {
        const std::string state = explained_.path.text("state");
        say(path_ + " " + headline(state), 0, tone_of(state));
        if (explained_.path.has("problem"))
            say("It cannot be looked at: " + printable(explained_.path.text("problem")) + ".", 2);
        if (state == "outside") tell_outside();
        for (const auto& set : explained_.sets) tell_set(set);
    }

  private:
    static Tone tone_of(const std::string& state) {
        if (state == "protected") return Tone::good;
        return state == "pending" || state == "unknown" ? Tone::warn : Tone::bad;
    }

    std::string headline(const std::string& state) const {
        if (state == "protected") return "is protected.";
        if (state == "excluded") return "is not protected: a rule leaves it out.";
        if (state == "outside") return "is not protected: no backup set holds it.";
        if (state == "missing") return "does not exist, and the newest revision does not have it.";
        if (state == "unknown") return "may be protected: not all is known.";
        const auto any_has = [this](const char* name) {
            return std::any_of(explained_.sets.begin(), explained_.sets.end(),
                               [&](const auto& set) { return part(set, name) != nullptr; });
        };
        const bool old = any_has("version");
        if (any_has("limit"))
            return old ? "is protected in an earlier state; a limit of its set keeps out what it "
                         "is now."
                       : "is not protected: a limit of its set leaves it out.";
        return old ? "is protected in an earlier state; what it is now waits for the next revision."
                   : "is not protected yet: it waits for the next revision.";
    }

    void say(const std::string& text, int indent, Tone tone = Tone::plain) {
        const Looks& looks = context_.looks();
        const int width = looks.width == 0 ? 0 : std::max(looks.width - indent, 20);
        context_.line(std::string(static_cast<std::size_t>(indent), ' ') +
                      paint(wrap_words(text, width, indent + 2), tone, looks));
    }

    void tell_outside() {
        auto sets = client_.list_sets();
        if (!sets.ok()) return;
        if (sets->empty()) {
            say("There is no set yet; make one: backupctl set create NAME --repo REPO " + path_, 2);
            return;
        }
        const std::string& first = sets->front().first;
        say("Add it to one: backupctl set edit " + first + " --add-path " + path_, 2);
    }

    std::string rule_text(const Dict& rule) const {
        const std::string kind = rule.text("rule");
        const std::string at = printable(rule.text("path"));
        const std::string origin = printable(rule.text("origin"));
        const std::string where = origin.empty() ? "" : " (" + origin + ")";
        if (kind == "pattern")
            return "the pattern \"" + printable(rule.text("pattern")) + "\"" + where +
                   (at == path_ ? " leaves it out" : " leaves out " + at);
        if (kind == "cachedir-tag") return at + " is marked as a cache by its CACHEDIR.TAG" + where;
        if (kind == "nodump")
            return (at == path_ ? "it" : at) + " has the attribute d (chattr +d), which nodump" +
                   where + " leaves out";
        if (kind == "larger-than") return "it is larger than larger-than" + where + " allows";
        if (kind == "one-file-system")
            return at + " is another file system, and one-file-system" + where +
                   " stays on that of the set's path";
        if (kind == "symlink")
            return at + " is a symbolic link: the link is kept, what it leads to is not followed";
        if (kind == "own") return at + " belongs to backupd itself";
        return kind + where;
    }

    void tell_set(const Explained::Set& set) {
        const std::string id = set.facts.text("set");
        const std::string state = set.facts.text("state");
        const Timestamp now = context_.now();
        std::string root = printable(set.facts.text("root"));
        say("set " + id + ", path " + root + ":", 2, Tone::bold);
        if (const Dict* rule = part(set, "excluded")) {
            say("Not taken: " + rule_text(*rule) + ".", 4);
        } else if (const Dict* taken = part(set, "taken-in")) {
            const std::string origin = printable(taken->text("origin"));
            say("Taken in by the pattern \"" + printable(taken->text("pattern")) + "\"" +
                    (origin.empty() ? "" : " (" + origin + ")") + ".",
                4);
        }
        if (const Dict* pending = part(set, "pending")) {
            std::string text = "Waits: " + pending->text("kind");
            if (pending->number("since") != 0)
                text += " " + age_text(from_usec(pending->number("since")), now);
            if (pending->number("bytes") != 0)
                text += ", " + size_text(pending->number("bytes"), context_.looks());
            say(text + ".", 4);
        }
        if (std::uint64_t below = set.facts.number("pending-below"))
            say("Below it " + count_text(below, "change waits", "changes wait") +
                    (set.facts.flag("more-below") ? " or more" : "") + ": backupctl queue " + id,
                4);
        tell_version(set, id);
        if (state == "excluded") return;
        if (const Dict* limit = part(set, "limit")) {
            say("A limit stops it: " + printable(limit->text("text")) + ".", 4, Tone::bad);
            say("To have it in: " + printable(limit->text("remedy")) + ".", 4);
        }
        if (set.facts.has("question"))
            say("A guard asks: " + printable(set.facts.text("question")) +
                    ". Answer: backupctl approve " + id + ", or backupctl reject " + id + ".",
                4, Tone::bad);
        std::vector<Dict> waits;
        if (!set.facts.texts("blocked-by").empty())
            if (auto conditions = client_.schedule(Client::set_object(id)); conditions.ok())
                waits = unmet(*conditions);
        for (const Dict& condition : waits)
            say("Waits: " + condition_sentence(condition, context_) + ".", 4);
        for (const auto& word : set.facts.texts("blocked-by")) {
            const bool is_told = std::any_of(
                waits.begin(), waits.end(),
                [&](const Dict& condition) { return condition.text("condition") == word; });
            if (is_told || word == "limit") continue;
            std::string sentence = blocked_sentence(word, id, set.facts.text("tracking-reason"));
            if (!sentence.empty()) say("Mind: " + sentence + ".", 4);
        }
        if (std::uint64_t next = set.facts.number("next-run"); next != 0 && state != "protected")
            say("Next run: " + age_text(from_usec(next), now) + ".", 4);
        else if (state == "pending" && part(set, "limit") == nullptr)
            say("Now: backupctl run " + id, 4);
    }

    void tell_version(const Explained::Set& set, const std::string& id) {
        if (const Dict* version = part(set, "version")) {
            const std::string number = version->number("number") != 0
                                           ? id + "/" + std::to_string(version->number("number"))
                                           : version->text("revision").substr(0, 8);
            std::string text = "Last version: revision " + number + " of " +
                               time_text(version->number("time"), context_.looks());
            if (version->text("type") == "file")
                text += ", " + size_text(version->number("size"), context_.looks()) +
                        ", modified " + time_text(version->number("modified"), context_.looks());
            else
                text += ", a " + version->text("type");
            say(text + ".", 4);
        } else if (set.facts.has("version-problem")) {
            say("Whether a revision has it is not known: " +
                    printable(set.facts.text("version-problem")) + ".",
                4);
        } else {
            say("The newest revision does not have it.", 4);
        }
    }

    Context& context_;
    Client& client_;
    const Explained& explained_;
    const std::string path_;
};

Result<ExitCode> run(Context& context) {
    const std::string path = TRY(absolute_here(context.args().positionals()[0]));
    Client* client = TRY(context.client());
    const Explained explained = TRY(client->explain(path));
    const bool missing = explained.path.text("state") == "missing";
    const ExitCode code = missing ? ExitCode::not_found : ExitCode::done;
    if (context.json())
        print_json(context, *client, explained, code);
    else
        Teller(context, *client, explained).tell();
    return code;
}

}  // namespace

Command explain_command() {
    return {
        .verb = "explain",
        .summary = "is this path protected: by which set, in which version, what blocks it",
        .description =
            "Says whether a path is in the newest revision as it is now, waits for the next one, "
            "is "
            "left out by a rule (and where that rule stands), or is in no set; what the last "
            "version is, and what stands in the way. The exit code is 5 when it neither exists nor "
            "is in the newest revision.",
        .positionals = {{"PATH", true, false, Completion::file}},
        .examples = {{"backupctl explain ~/letters/ada.txt", "can I rely on it?"},
                     {"backupctl --json explain /srv/data | jq -r .state", "for a script"}},
        .run = run};
}

}  // namespace backup
