// show: everything about one revision.
#include <algorithm>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/resolve.h"

namespace backup {

namespace {

JsonObject details_object(const Context& context, const RevisionRef& revision, const Dict& d) {
    JsonObject object = context.object("revision");
    object.add("id", revision.id)
        .add("number", d.number("number"))
        .add("set", d.text("set"))
        .add("state", d.text("state"));
    context.add_time(object, "revision_time", d.number("time"));
    for (const char* key : {"trigger", "mode", "parent", "host", "user", "program", "tree"}) {
        if (d.text(key).empty())
            object.add_null(key);
        else
            object.add(key, d.text(key));
    }
    std::vector<JsonObject> paths;
    std::vector<std::string> plain;
    bool text = true;
    for (const auto& path : d.file_names("paths")) {
        plain.push_back(path);
        paths.push_back(JsonObject().add_bytes("path", path));
        text = text && is_utf8(path);
    }
    if (text)
        object.add("paths", plain);
    else
        object.add("paths", paths);
    for (const char* key :
         {"items", "bytes", "new-bytes", "exceptions", "files-new", "files-changed",
          "files-unmodified", "dirs-new", "dirs-changed", "dirs-unmodified"}) {
        std::string name = key;
        std::replace(name.begin(), name.end(), '-', '_');
        object.add(name, d.number(key));
    }
    std::vector<JsonObject> missing;
    const auto names = d.file_names("missing");
    const auto good = d.texts("last-good");
    for (std::size_t i = 0; i < names.size(); ++i) {
        JsonObject one;
        one.add_bytes("path", names[i]);
        if (i < good.size() && !good[i].empty())
            one.add("last_good", good[i]);
        else
            one.add_null("last_good");
        missing.push_back(one);
    }
    object.add("missing", missing).add("more_missing", d.flag("more-missing"));
    return object.add("seconds", static_cast<double>(d.number("duration-usec")) / 1e6)
        .add("pinned", d.flag("pinned"))
        .add("gap", d.flag("gap"))
        .add("tags", d.texts("tags"))
        .add("excludes", d.texts("excludes"));
}

Result<ExitCode> run(Context& context) {
    auto argument = TRY(parse_revision_argument(context.args().positionals()[0]));
    Client* client = TRY(context.client());
    RevisionRef revision = TRY(find_revision(*client, argument, context.args().value("--set")));
    Dict d = TRY(client->revision(revision.set.object, revision.id));
    if (context.json()) {
        context.print(details_object(context, revision, d));
        return ExitCode::done;
    }
    const Looks& looks = context.looks();
    auto row = [&](const char* name, const std::string& value) {
        if (!value.empty())
            context.line(std::string(name) + std::string(14 - std::string_view(name).size(), ' ') +
                         value);
    };
    row("revision", revision.name());
    row("id", revision.id);
    row("time", time_text(d.number("time"), looks) + " (" +
                    age_text(from_usec(d.number("time")), context.now()) + ")");
    row("state", d.text("state"));
    row("trigger", d.text("trigger"));
    row("mode", d.text("mode"));
    row("parent", d.text("parent"));
    row("host", printable(d.text("host")));
    row("user", printable(d.text("user")));
    row("program", printable(d.text("program")));
    for (const auto& path : d.file_names("paths")) row("path", printable(path));
    for (const auto& pattern : d.texts("excludes")) row("exclude", printable(pattern));
    for (const auto& tag : d.texts("tags")) row("tag", printable(tag));
    row("tree", d.text("tree"));
    auto three = [&](const char* prefix) {
        std::string p(prefix);
        return count_text(d.number(p + "new")) + " new, " + count_text(d.number(p + "changed")) +
               " changed, " + count_text(d.number(p + "unmodified")) + " unmodified";
    };
    row("files", three("files-"));
    row("directories", three("dirs-"));
    if (d.number("items") > 0 || d.number("bytes") > 0)
        row("contents", count_text(d.number("items"), "item", "items") + ", " +
                            size_text(d.number("bytes"), looks));
    row("stored new", size_text(d.number("new-bytes"), looks));
    if (d.number("duration-usec") > 0)
        row("took", duration_text(static_cast<double>(d.number("duration-usec")) / 1e6));
    if (d.number("exceptions") > 0)
        row("exceptions", paint(count_text(d.number("exceptions"), "item is", "items are") +
                                    " missing or partial",
                                Tone::warn, looks));
    const auto missing = d.file_names("missing");
    const auto good = d.texts("last-good");
    for (std::size_t i = 0; i < missing.size(); ++i)
        row("not read", printable(missing[i]) + (i < good.size() && !good[i].empty()
                                                     ? " (last good version: " + good[i] + ")"
                                                     : " (no earlier revision has it)"));
    if (d.flag("more-missing")) row("", "and more that are not named here");
    if (d.flag("pinned")) row("pinned", "yes");
    if (d.flag("gap"))
        row("gap", "a file system was missing: what the revision has of it is older");
    return ExitCode::done;
}

}  // namespace

Command show_command() {
    return {.verb = "show",
            .summary = "one revision in full",
            .positionals = {{"REV", true, false, Completion::revision}},
            .options = {{.name = "--set",
                         .value = "SET",
                         .help = "the set that the number belongs to",
                         .completion = Completion::set},
                        kAllUsers},
            .examples = {{"backupctl show latest", "the newest revision"},
                         {"backupctl show home/7", "revision 7 of the set home"}},
            .run = run};
}

}  // namespace backup
