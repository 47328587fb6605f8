#include <algorithm>

#include "ctl/command.h"
#include "ctl/render.h"

namespace backup {

const std::vector<OptionSpec>& global_options() {
    static const std::vector<OptionSpec> kOptions = {
        {.name = "--json", .help = "print JSON: one object, or one per line for what streams"},
        {.name = "--quiet",
         .letter = 'q',
         .help = "no notes and no progress; results and errors only"},
        {.name = "--verbose", .letter = 'v', .help = "say more"},
        {.name = "--no-pager", .help = "never start a pager (backupctl never does)"},
        {.name = "--no-legend", .help = "tables without headings and summaries"},
        {.name = "--utc", .help = "show times in UTC rather than the local zone"},
        {.name = "--bytes", .help = "show sizes in bytes rather than KiB, MiB, GiB"},
        {.name = "--color",
         .value = "WHEN",
         .help = "auto, always or never",
         .choices = {"auto", "always", "never"}},
        {.name = "--wait",
         .value = "[SEC]",
         .help = "wait for the end of a job, at most SEC (then exit 9, the job goes on)"},
        {.name = "--no-wait", .help = "start the job and return"},
        {.name = "--yes", .letter = 'y', .help = "go on without asking"},
        {.name = "--dry-run", .letter = 'n', .help = "show what would be done, change nothing"},
        {.name = "--user", .help = "talk to your own backupd, on the session bus"},
        {.name = "--system", .help = "talk to the machine's backupd, on the system bus"},
        {.name = "--null", .letter = '0', .help = "names end with a NUL byte, in and out"},
        {.name = "--files-from",
         .value = "FILE",
         .help = "read paths from FILE ('-': stdin), one per line",
         .completion = Completion::file},
        {.name = "--help", .letter = 'h', .help = "help for the verb"},
    };
    return kOptions;
}

std::string usage_line(const Command& command) {
    std::string line = "backupctl " + command.verb;
    for (const auto& positional : command.positionals) {
        std::string name = positional.name + (positional.many ? "..." : "");
        line += positional.required ? " " + name : " [" + name + "]";
    }
    for (const auto& option : command.options) {
        std::string text = option.name;
        if (!option.choices.empty()) {
            std::string list;
            for (const auto& choice : option.choices) list += (list.empty() ? "" : "|") + choice;
            text += " " + list;
        } else if (!option.value.empty()) {
            text += " " + option.value;
        }
        line += " [" + text + "]" + (option.repeat ? "..." : "");
    }
    return line;
}

namespace {

// Breaks at spaces; following lines are indented.
std::string wrap(const std::string& text, int width, int indent) {
    std::string result, line;
    auto emit = [&] {
        if (!result.empty()) result += "\n" + std::string(static_cast<std::size_t>(indent), ' ');
        result += line;
        line.clear();
    };
    std::size_t at = 0;
    while (at < text.size()) {
        std::size_t end = text.find(' ', at);
        // A bracketed option of the usage line stays together.
        if (text[at] == '[') {
            std::size_t close = text.find(']', at);
            if (close != std::string::npos) end = text.find(' ', close);
        }
        std::string word = text.substr(at, end == std::string::npos ? end : end - at);
        at = end == std::string::npos ? text.size() : end + 1;
        int room = width - indent;
        if (!line.empty() && display_width(line) + 1 + display_width(word) > room) emit();
        line += (line.empty() ? "" : " ") + word;
    }
    emit();
    return result;
}

std::string option_head(const OptionSpec& option) {
    std::string head = option.letter != 0 ? std::string("-") + option.letter + ", " : "    ";
    head += option.name;
    if (option.value.starts_with('[')) return head + "[=" + option.value.substr(1);
    if (!option.value.empty()) head += " " + option.value;
    return head;
}

std::string option_lines(const std::vector<OptionSpec>& options, int width) {
    std::string text;
    constexpr int kIndent = 28;
    for (const auto& option : options) {
        std::string head = "  " + option_head(option);
        std::string help = option.help;
        if (!option.choices.empty() && help.find(option.choices[0]) == std::string::npos) {
            help += ": ";
            for (std::size_t i = 0; i < option.choices.size(); ++i)
                help += (i > 0 ? ", " : "") + option.choices[i];
        }
        if (static_cast<int>(head.size()) + 2 > kIndent)
            head += "\n" + std::string(kIndent, ' ');
        else
            head.append(static_cast<std::size_t>(kIndent) - head.size(), ' ');
        text += head + wrap(help, width, kIndent) + "\n";
    }
    return text;
}

}  // namespace

std::string overview_text() {
    std::string text =
        "backupctl: see, start and restore backups\n\n"
        "usage: backupctl [OPTIONS] [VERB ...]      without a verb: status\n";
    std::string group;
    for (const auto& command : commands()) {
        if (command.group != group) {
            group = command.group;
            text += "\n" + group + "\n";
        }
        std::string head = "  " + command.verb;
        for (const auto& positional : command.positionals) {
            std::string name = positional.name + (positional.many ? "..." : "");
            head += positional.required ? " " + name : " [" + name + "]";
        }
        constexpr std::size_t kColumn = 30;
        head += head.size() + 2 > kColumn ? "  " : std::string(kColumn - head.size(), ' ');
        text += head + command.summary + "\n";
    }
    return text +
           "\nEverywhere: --json, --user, --system, -q, -v, --utc, --bytes, --yes, --dry-run ...\n"
           "More: backupctl help VERB, and the manual page backupctl(1)\n";
}

std::string help_text(const Command& command, int width) {
    if (width <= 0 || width > 100) width = 100;
    width = std::max(width, 60);
    std::string text = "backupctl " + command.verb + ": " + command.summary + "\n\n";
    text += "usage: " + wrap(usage_line(command), width, 7) + "\n";
    if (!command.aliases.empty()) {
        text += "also:  ";
        for (std::size_t i = 0; i < command.aliases.size(); ++i)
            text += (i > 0 ? ", " : "") + command.aliases[i];
        text += "\n";
    }
    if (!command.description.empty()) text += "\n" + wrap(command.description, width, 0) + "\n";
    if (!command.options.empty()) text += "\nOptions\n" + option_lines(command.options, width);
    text += "\nEverywhere\n" + option_lines(global_options(), width);
    if (!command.examples.empty()) {
        text += "\nExamples\n";
        for (const auto& [line, what] : command.examples)
            text += "  " + line + "\n      " + what + "\n";
    }
    return text;
}

}  // namespace backup
