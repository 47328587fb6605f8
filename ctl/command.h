// Command describes one verb: its options, its help and what it runs. Parsing, help, completion and
// the suggestions for typing errors are all made from the table that commands() returns.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "ctl/exit_code.h"

namespace backup {

class Context;

// What a shell offers for a value.
enum class Completion { nothing, file, directory, set, repository, job, revision, verb, shell };

struct OptionSpec {
    std::string name;        // "--at"
    char letter = 0;         // 'n' for -n
    std::string value = {};  // "TIME"; empty: a switch; "[SEC]": may be left out, given with '='
    std::string help = {};
    bool repeat = false;
    std::vector<std::string> choices = {};
    Completion completion = Completion::nothing;
};

struct PositionalSpec {
    std::string name;  // "PATH"
    bool required = true;
    bool many = false;
    Completion completion = Completion::nothing;
};

class Arguments {
  public:
    bool flag(std::string_view name) const { return options_.find(name) != options_.end(); }
    // The last one given.
    std::optional<std::string> value(std::string_view name) const;
    std::vector<std::string> values(std::string_view name) const;
    std::string value_or(std::string_view name, std::string_view fallback) const;
    const std::vector<std::string>& positionals() const { return positionals_; }

    void add_option(std::string name, std::vector<std::string> values) {
        options_[std::move(name)] = std::move(values);
    }
    void set_positionals(std::vector<std::string> values) { positionals_ = std::move(values); }

  private:
    std::map<std::string, std::vector<std::string>, std::less<>> options_;
    std::vector<std::string> positionals_;
};

struct Command {
    std::string verb;  // "status", or "repo init"
    std::vector<std::string> aliases = {};
    std::string group;  // heading in the overview
    std::string summary;
    std::string description = {};
    std::vector<PositionalSpec> positionals = {};
    std::vector<OptionSpec> options = {};
    std::vector<std::pair<std::string, std::string>> examples = {};  // command line, what it does
    // JSON Lines that end with a result object, in place of one object.
    bool stream = false;
    std::string stream_kind = {};  // the result's "kind" when it fails before there is a job
    Result<ExitCode> (*run)(Context&) = nullptr;
};

// In the order of the overview.
const std::vector<Command>& commands();
// Understood before and after every verb.
const std::vector<OptionSpec>& global_options();

struct Invocation {
    const Command* command = nullptr;
    Arguments arguments;
    bool help = false;
    bool version = false;
};

// `arguments` without the program's name. Errors are ErrorKind::invalid with a suggestion;
// `command` is set as soon as the verb is known, also when the rest is wrong.
Result<> parse_command_line(const std::vector<std::string>& arguments, Invocation& invocation);

// The command for "repo init", "snapshots", ...; null when there is none.
const Command* find_command(std::string_view verb);

// "backupctl restore PATH... [--at TIME] ..."
std::string usage_line(const Command& command);
std::string overview_text();
std::string help_text(const Command& command, int width);

// bash, zsh or fish.
std::string completion_script(std::string_view shell);

}  // namespace backup
