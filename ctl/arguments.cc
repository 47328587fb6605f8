#include <algorithm>

#include <CLI/CLI.hpp>

#include "common/path.h"
#include "ctl/command.h"
#include "ctl/nearest.h"

namespace backup {

std::optional<std::string> Arguments::value(std::string_view name) const {
    auto it = options_.find(name);
    if (it == options_.end() || it->second.empty()) return std::nullopt;
    return it->second.back();
}
std::vector<std::string> Arguments::values(std::string_view name) const {
    auto it = options_.find(name);
    return it == options_.end() ? std::vector<std::string>{} : it->second;
}
std::string Arguments::value_or(std::string_view name, std::string_view fallback) const {
    return value(name).value_or(std::string(fallback));
}

const Command* find_command(std::string_view verb) {
    for (const auto& command : commands()) {
        if (command.verb == verb) return &command;
        for (const auto& alias : command.aliases)
            if (alias == verb) return &command;
    }
    return nullptr;
}

namespace {

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

bool is_optional_value(const OptionSpec& option) {
    return option.value.starts_with('[');
}

// The global option that `word` is, when it is spelled out in full.
const OptionSpec* global_option(std::string_view word) {
    for (const auto& option : global_options()) {
        if (word == option.name) return &option;
        if (option.letter != 0 && word == std::string("-") + option.letter) return &option;
    }
    return nullptr;
}

struct Verb {
    std::string first, second;
    std::vector<std::string> rest;  // everything but the verb
};

bool is_group(std::string_view word) {
    std::string prefix = std::string(word) + " ";
    return std::any_of(commands().begin(), commands().end(),
                       [&](const Command& command) { return command.verb.starts_with(prefix); });
}

// Global options may stand before the verb, and between "repo" and "init".
Verb split_verb(const std::vector<std::string>& arguments) {
    Verb verb;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string& word = arguments[i];
        bool wanted = verb.first.empty() || (verb.second.empty() && is_group(verb.first));
        if (word == "--" || !wanted) {
            verb.rest.insert(verb.rest.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i),
                             arguments.end());
            break;
        }
        if (word.size() > 1 && word[0] == '-') {
            verb.rest.push_back(word);
            const OptionSpec* option = global_option(word);
            if (option != nullptr && !option->value.empty() && !is_optional_value(*option) &&
                i + 1 < arguments.size())
                verb.rest.push_back(arguments[++i]);
            continue;
        }
        if (verb.first.empty())
            verb.first = word;
        else
            verb.second = word;
    }
    return verb;
}

std::vector<std::string> first_words() {
    std::vector<std::string> words;
    for (const auto& command : commands()) {
        words.push_back(command.verb.substr(0, command.verb.find(' ')));
        words.insert(words.end(), command.aliases.begin(), command.aliases.end());
    }
    return words;
}

std::string meant(const std::string& word) {
    return word.empty() ? std::string() : "; did you mean '" + word + "'?";
}

// What `backupctl repo` alone does.
std::string default_of_group(const std::string& group) {
    return group == "config" ? "show" : "list";
}

Result<const Command*> command_of(const Verb& verb) {
    if (verb.first.empty()) return find_command("status");
    if (is_group(verb.first)) {
        std::string second = verb.second.empty() ? default_of_group(verb.first) : verb.second;
        if (const Command* command = find_command(verb.first + " " + second)) return command;
        std::vector<std::string> words;
        for (const auto& command : commands())
            if (command.verb.starts_with(verb.first + " "))
                words.push_back(command.verb.substr(verb.first.size() + 1));
        std::string list;
        for (const auto& word : words) list += (list.empty() ? "" : ", ") + word;
        return usage("unknown verb '" + verb.first + " " + printable(second) + "'" +
                     meant(nearest(second, words)) + "\n" + verb.first + " knows: " + list);
    }
    if (const Command* command = find_command(verb.first)) return command;
    return usage("unknown verb '" + printable(verb.first) + "'" +
                 meant(nearest(verb.first, first_words())) + "\nall verbs: backupctl help");
}

std::string try_help(const Command& command) {
    return "\nusage: " + usage_line(command) + "\nmore: backupctl help " + command.verb;
}

Error unknown_option(const Command& command, const std::string& word) {
    std::string name = word.substr(0, word.find('='));
    std::vector<std::string> names;
    for (const auto* list : {&command.options, &global_options()})
        for (const auto& option : *list) names.push_back(option.name);
    std::string near = name.starts_with("--") ? nearest(name, names) : std::string();
    return usage("unknown option '" + printable(name) + "' for " + command.verb + meant(near) +
                 try_help(command));
}

Result<> check_positionals(const Command& command, const std::vector<std::string>& values) {
    std::size_t least = 0, most = 0;
    bool unlimited = false;
    for (const auto& positional : command.positionals) {
        if (positional.required) ++least;
        ++most;
        if (positional.many) unlimited = true;
    }
    if (values.size() < least)
        return usage(command.verb + " needs " + command.positionals[values.size()].name +
                     try_help(command));
    if (!unlimited && values.size() > most)
        return usage("'" + printable(values[most]) + "' is one argument too many for " +
                     command.verb + try_help(command));
    return {};
}

Result<> check_choices(const Command& command, const OptionSpec& option,
                       const std::vector<std::string>& values) {
    if (option.choices.empty()) return {};
    for (const auto& value : values) {
        if (std::find(option.choices.begin(), option.choices.end(), value) != option.choices.end())
            continue;
        std::string list;
        for (const auto& choice : option.choices) list += (list.empty() ? "" : ", ") + choice;
        return usage(option.name + " cannot be '" + printable(value) + "'" +
                     meant(nearest(value, option.choices)) + "\n" + option.name +
                     " knows: " + list);
    }
    return {};
}

}  // namespace

Result<> parse_command_line(const std::vector<std::string>& arguments, Invocation& invocation) {
    Verb verb = split_verb(arguments);
    for (const auto& word : verb.rest) {
        if (word == "--") break;
        if (word == "--help" || word == "-h") invocation.help = true;
        if (word == "--version") invocation.version = true;
    }
    if (verb.first.empty() && (invocation.help || invocation.version)) return {};
    if (invocation.help && verb.second.empty() && is_group(verb.first)) {
        invocation.arguments.set_positionals({verb.first});
        return {};
    }
    const Command* found = TRY(command_of(verb));
    invocation.command = found;
    const Command& command = *found;
    if (invocation.help) return {};

    // What follows "--" is never an option; the parser does not get to see it.
    std::vector<std::string> words, after;
    auto divider = std::find(verb.rest.begin(), verb.rest.end(), "--");
    words.assign(verb.rest.begin(), divider);
    if (divider != verb.rest.end()) after.assign(divider + 1, verb.rest.end());
    for (auto& word : words)
        for (const auto& option : global_options())
            if (is_optional_value(option) && word == option.name) word += "=forever";

    CLI::App app;
    app.set_help_flag();
    app.allow_extras();
    std::vector<std::pair<const OptionSpec*, CLI::Option*>> options;
    std::vector<std::vector<std::string>> storage(command.options.size() + global_options().size());
    auto declare = [&](const OptionSpec& option) {
        std::string names = option.name;
        if (option.letter != 0) names += std::string(",-") + option.letter;
        CLI::Option* declared = nullptr;
        if (option.value.empty()) {
            declared = app.add_flag(names);
        } else {
            // One value each, taken as it stands: "[ab]" is a pattern and not a list.
            declared = app.add_option(names, storage[options.size()]);
            declared->expected(1)->allow_extra_args(false)->multi_option_policy(
                CLI::MultiOptionPolicy::TakeAll);
        }
        options.emplace_back(&option, declared);
    };
    for (const auto& option : command.options) declare(option);
    for (const auto& option : global_options()) {
        bool own = std::any_of(command.options.begin(), command.options.end(),
                               [&](const OptionSpec& other) {
                                   return other.name == option.name ||
                                          (option.letter != 0 && other.letter == option.letter);
                               });
        if (!own) declare(option);
    }
    std::reverse(words.begin(), words.end());  // as the parser wants them
    try {
        app.parse(std::move(words));
    } catch (const CLI::ArgumentMismatch& mismatch) {
        for (const auto& [option, declared] : options)
            if (!option->value.empty() &&
                std::string(mismatch.what()).find(option->name) != std::string::npos)
                return usage(option->name + " needs a value: " + option->name + " " +
                             option->value + try_help(command));
        return usage(std::string(mismatch.what()) + try_help(command));
    } catch (const CLI::Error& error) {
        return usage(std::string(error.what()) + try_help(command));
    }
    std::vector<std::string> positionals;
    for (const auto& word : app.remaining()) {
        if (word.size() > 1 && word[0] == '-') return unknown_option(command, word);
        positionals.push_back(word);
    }
    positionals.insert(positionals.end(), after.begin(), after.end());
    for (const auto& [option, declared] : options) {
        if (declared->count() == 0) continue;
        std::vector<std::string> values;
        if (!option->value.empty()) values = declared->results();
        if (!option->repeat && values.size() > 1)
            return usage(option->name + " was given more than once" + try_help(command));
        TRY(check_choices(command, *option, values));
        invocation.arguments.add_option(option->name, std::move(values));
    }
    bool files_from = invocation.arguments.flag("--files-from");
    if (!files_from) TRY(check_positionals(command, positionals));
    invocation.arguments.set_positionals(std::move(positionals));
    return {};
}

}  // namespace backup
