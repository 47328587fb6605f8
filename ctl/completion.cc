// Completion scripts, from the table of commands.
#include <algorithm>
#include <set>

#include "ctl/command.h"

namespace backup {

namespace {

std::vector<std::string> words_of_options(const std::vector<OptionSpec>& options) {
    std::vector<std::string> words;
    for (const auto& option : options) {
        words.push_back(option.name);
        if (option.letter != 0) words.push_back(std::string("-") + option.letter);
    }
    return words;
}

std::string join(const std::vector<std::string>& words, const char* between = " ") {
    std::string text;
    for (const auto& word : words) text += (text.empty() ? "" : between) + word;
    return text;
}

std::string name_of(Completion completion) {
    switch (completion) {
        case Completion::nothing:
            return "nothing";
        case Completion::file:
            return "file";
        case Completion::directory:
            return "directory";
        case Completion::set:
            return "set";
        case Completion::repository:
            return "repository";
        case Completion::job:
            return "job";
        case Completion::revision:
            return "revision";
        case Completion::verb:
            return "verb";
        case Completion::shell:
            return "shell";
    }
    return "nothing";
}

std::vector<std::string> first_words() {
    std::vector<std::string> words;
    for (const auto& command : commands()) {
        std::string first = command.verb.substr(0, command.verb.find(' '));
        if (std::find(words.begin(), words.end(), first) == words.end()) words.push_back(first);
    }
    return words;
}

std::vector<std::string> second_words(const std::string& group) {
    std::vector<std::string> words;
    for (const auto& command : commands())
        if (command.verb.starts_with(group + " "))
            words.push_back(command.verb.substr(group.size() + 1));
    return words;
}

std::vector<std::string> groups() {
    std::vector<std::string> names;
    for (const auto& word : first_words())
        if (!second_words(word).empty()) names.push_back(word);
    return names;
}

// What comes after an option, as a case of the shell: choices, or what _backupctl_values is asked
// for.
std::string bash_option_cases() {
    std::string text;
    std::set<std::string> seen;
    auto add = [&](const OptionSpec& option) {
        if (option.value.empty() || option.value.starts_with('[') ||
            !seen.insert(option.name).second)
            return;
        std::string action = option.choices.empty()
                                 ? "_backupctl_values " + name_of(option.completion)
                                 : "_backupctl_words '" + join(option.choices) + "'";
        text += "        " + option.name + ") " + action + "; return ;;\n";
    };
    for (const auto& option : global_options()) add(option);
    for (const auto& command : commands())
        for (const auto& option : command.options) add(option);
    return text;
}

std::string bash_script() {
    std::string text =
        "# bash completion for backupctl\n\n"
        "_backupctl_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$cur\"); }\n\n"
        "# Lines of a table's first column, without its heading.\n"
        "_backupctl_column() { backupctl --no-legend -q --color never \"$@\" 2>/dev/null | awk "
        "'{print $1}'; }\n\n"
        "_backupctl_values() {\n"
        "    case $1 in\n"
        "        file) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); compopt -o filenames ;;\n"
        "        directory) mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"); compopt -o filenames "
        ";;\n"
        "        set) _backupctl_words \"$(_backupctl_column set list)\" ;;\n"
        "        repository) _backupctl_words \"$(_backupctl_column repo list)\" ;;\n"
        "        revision) _backupctl_words \"latest $(_backupctl_column revisions)\" ;;\n"
        "        job) _backupctl_words \"$(_backupctl_column jobs)\" ;;\n"
        "        shell) _backupctl_words 'bash zsh fish' ;;\n"
        "        verb) _backupctl_words '" +
        join(first_words()) +
        "' ;;\n"
        "    esac\n"
        "}\n\n"
        "_backupctl() {\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= second= "
        "word skip= i n=0\n"
        "    COMPREPLY=()\n"
        "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
        "        word=${COMP_WORDS[i]}\n"
        "        if [[ $skip ]]; then skip=; continue; fi\n"
        "        case $word in\n"
        "            --color|--files-from) skip=1 ;;\n"
        "            -*) ;;\n"
        "            *) if [[ -z $verb ]]; then verb=$word; elif [[ -z $second ]]; then "
        "second=$word; fi\n"
        "               n=$((n + 1)) ;;\n"
        "        esac\n"
        "    done\n"
        "    case $prev in\n" +
        bash_option_cases() +
        "    esac\n"
        "    if [[ -z $verb && $cur != -* ]]; then _backupctl_values verb; return; fi\n"
        "    local global='" +
        join(words_of_options(global_options())) +
        "'\n"
        "    case $verb in " +
        join(groups(), "|") +
        ")\n"
        "        if [[ $n -eq 1 && $cur != -* ]]; then\n"
        "            case $verb in\n";
    for (const auto& group : groups())
        text += "                " + group + ") _backupctl_words '" + join(second_words(group)) +
                "' ;;\n";
    text +=
        "            esac\n"
        "            return\n"
        "        fi\n"
        "        verb=\"$verb $second\"; n=$((n - 1)) ;;\n"
        "    esac\n"
        "    case $verb in\n";
    for (const auto& command : commands()) {
        std::vector<std::string> names = {"'" + command.verb + "'"};
        for (const auto& alias : command.aliases) names.push_back("'" + alias + "'");
        text += "        " + join(names, "|") +
                ")\n            if [[ $cur == -* ]]; then _backupctl_words \"$global " +
                join(words_of_options(command.options)) + "\"; return; fi\n";
        if (!command.positionals.empty()) {
            text += "            case $n in\n";
            for (std::size_t i = 0; i < command.positionals.size(); ++i) {
                bool last = i + 1 == command.positionals.size();
                text += "                " +
                        (last && command.positionals[i].many ? std::string("*")
                                                             : std::to_string(i + 1)) +
                        ") _backupctl_values " + name_of(command.positionals[i].completion) +
                        " ;;\n";
            }
            text += "            esac\n";
        }
        text += "            ;;\n";
    }
    return text +
           "        *) if [[ $cur == -* ]]; then _backupctl_words \"$global\"; fi ;;\n    "
           "esac\n}\n\ncomplete -F _backupctl backupctl\n";
}

// For zsh's _arguments and fish's -d: one line, no brackets and quotes.
std::string plain(const std::string& text) {
    std::string result;
    for (char c : text) {
        if (c == '[' || c == ']' || c == '\'' || c == ':' || c == '\\') continue;
        result += c;
    }
    return result;
}

std::string zsh_action(Completion completion) {
    switch (completion) {
        case Completion::nothing:
            return " ";
        case Completion::file:
            return "_files";
        case Completion::directory:
            return "_files -/";
        case Completion::set:
            return "{_backupctl_column set list}";
        case Completion::repository:
            return "{_backupctl_column repo list}";
        case Completion::job:
            return "{_backupctl_column jobs}";
        case Completion::revision:
            return "{_backupctl_column revisions}";
        case Completion::verb:
            return "(" + join(first_words()) + ")";
        case Completion::shell:
            return "(bash zsh fish)";
    }
    return " ";
}

std::string zsh_option(const OptionSpec& option) {
    std::vector<std::string> lines;
    for (const std::string& name :
         {option.name, option.letter == 0 ? std::string() : std::string("-") + option.letter}) {
        if (name.empty()) continue;
        std::string line = "'";
        if (option.repeat) line += "*";
        line += name;
        if (option.value.starts_with('[')) line += "=-";
        line += "[" + plain(option.help) + "]";
        if (!option.value.empty()) {
            std::string action = option.choices.empty() ? zsh_action(option.completion)
                                                        : "(" + join(option.choices) + ")";
            line += std::string(option.value.starts_with('[') ? "::" : ":") + plain(option.value) +
                    ":" + action;
        }
        lines.push_back(line + "'");
    }
    return join(lines, " ");
}

std::string zsh_script() {
    std::string text =
        "#compdef backupctl\n\n"
        "_backupctl_column() {\n"
        "    local -a values\n"
        "    values=(${(f)\"$(backupctl --no-legend -q --color never $@ 2>/dev/null | awk '{print "
        "$1}')\"})\n"
        "    compadd -a values\n"
        "}\n\n"
        "_backupctl() {\n"
        "    local -a global\n"
        "    global=(\n";
    for (const auto& option : global_options()) text += "        " + zsh_option(option) + "\n";
    text +=
        "    )\n"
        "    local context state line verb\n"
        "    typeset -A opt_args\n"
        "    _arguments -C $global '1:verb:->verb' '*::argument:->rest'\n"
        "    verb=$line[1]\n"
        "    case $state in\n"
        "        verb)\n"
        "            local -a verbs\n"
        "            verbs=(\n";
    for (const auto& word : first_words()) {
        const Command* command = find_command(word);
        text += "                '" + word + ":" +
                (command != nullptr ? plain(command->summary) : join(second_words(word), ", ")) +
                "'\n";
    }
    text +=
        "            )\n"
        "            _describe verb verbs ;;\n"
        "        rest)\n"
        "            case $verb in " +
        join(groups(), "|") +
        ")\n"
        "                if (( CURRENT == 1 )); then\n"
        "                    case $verb in\n";
    for (const auto& group : groups())
        text +=
            "                        " + group + ") compadd " + join(second_words(group)) + " ;;\n";
    text +=
        "                    esac\n"
        "                    return\n"
        "                fi\n"
        "                verb=\"$verb $words[1]\" ;;\n"
        "            esac\n"
        "            case $verb in\n";
    for (const auto& command : commands()) {
        std::vector<std::string> names = {"'" + command.verb + "'"};
        for (const auto& alias : command.aliases) names.push_back("'" + alias + "'");
        text += "                " + join(names, "|") + ") _arguments $global";
        for (const auto& option : command.options)
            text += " \\\n                    " + zsh_option(option);
        for (const auto& positional : command.positionals)
            text += " \\\n                    '" + std::string(positional.many ? "*" : "") + ":" +
                    plain(positional.name) + ":" + zsh_action(positional.completion) + "'";
        text += " ;;\n";
    }
    return text +
           "            esac ;;\n    esac\n}\n\nif [ \"$funcstack[1]\" = _backupctl ]; then "
           "_backupctl; else compdef _backupctl backupctl; fi\n";
}

std::string fish_source(Completion completion) {
    switch (completion) {
        case Completion::nothing:
            return "-f";
        case Completion::file:
            return "-F";
        case Completion::directory:
            return "-f -a '(__fish_complete_directories)'";
        case Completion::set:
            return "-f -a '(__backupctl_column set list)'";
        case Completion::repository:
            return "-f -a '(__backupctl_column repo list)'";
        case Completion::job:
            return "-f -a '(__backupctl_column jobs)'";
        case Completion::revision:
            return "-f -a 'latest (__backupctl_column revisions)'";
        case Completion::verb:
            return "-f -a '" + join(first_words()) + "'";
        case Completion::shell:
            return "-f -a 'bash zsh fish'";
    }
    return "-f";
}

std::string fish_option(const std::string& condition, const OptionSpec& option) {
    std::string line = "complete -c backupctl" + condition + " -l " + option.name.substr(2);
    if (option.letter != 0) line += std::string(" -s ") + option.letter;
    if (!option.value.empty() && !option.value.starts_with('[')) {
        line += " -r ";
        line += option.choices.empty() ? fish_source(option.completion)
                                       : "-f -a '" + join(option.choices) + "'";
    }
    return line + " -d '" + plain(option.help) + "'\n";
}

std::string fish_script() {
    std::string text =
        "# fish completion for backupctl\n\n"
        "function __backupctl_column\n"
        "    backupctl --no-legend -q --color never $argv 2>/dev/null | string replace -r '\\s.*' "
        "''\n"
        "end\n\n"
        "# The words that are not options.\n"
        "function __backupctl_is\n"
        "    set -l words (string match -v -- '-*' (commandline -opc))\n"
        "    set -e words[1]\n"
        "    test (count $words) -ge (count $argv); and test \"$words[1..\"(count $argv)\"]\" = "
        "\"$argv\"\n"
        "end\n"
        "function __backupctl_only\n"
        "    set -l words (string match -v -- '-*' (commandline -opc))\n"
        "    test (count $words) -eq (math (count $argv) + 1); and __backupctl_is $argv\n"
        "end\n"
        "function __backupctl_none\n"
        "    test (count (string match -v -- '-*' (commandline -opc))) -eq 1\n"
        "end\n\n"
        "complete -c backupctl -f\n";
    for (const auto& option : global_options()) text += fish_option("", option);
    for (const auto& word : first_words()) {
        const Command* command = find_command(word);
        text += "complete -c backupctl -n __backupctl_none -a " + word + " -d '" +
                (command != nullptr ? plain(command->summary) : join(second_words(word), ", ")) +
                "'\n";
    }
    for (const auto& group : groups())
        text += "complete -c backupctl -n '__backupctl_only " + group + "' -a '" +
                join(second_words(group)) + "'\n";
    for (const auto& command : commands()) {
        std::vector<std::string> names = {command.verb};
        names.insert(names.end(), command.aliases.begin(), command.aliases.end());
        for (const auto& name : names) {
            std::string condition = " -n '__backupctl_is " + name + "'";
            for (const auto& option : command.options) text += fish_option(condition, option);
            if (!command.positionals.empty())
                text += "complete -c backupctl" + condition + " " +
                        fish_source(command.positionals.back().completion) + "\n";
        }
    }
    return text;
}

}  // namespace

std::string completion_script(std::string_view shell) {
    if (shell == "bash") return bash_script();
    if (shell == "zsh") return zsh_script();
    if (shell == "fish") return fish_script();
    return {};
}

}  // namespace backup
