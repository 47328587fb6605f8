// One function per verb, each in a file of its own; the table in table.cc puts them in order.
#pragma once

#include <vector>

#include "ctl/command.h"

namespace backup {

// Of the verbs that show and give back what is stored.
inline const OptionSpec kAllUsers{.name = "--all-users",
                                  .help = "everybody's files, if an administrator consents"};
inline const OptionSpec kAsRoot{.name = "--as-root",
                                .help = "with root's rights, if an administrator consents"};

Command status_command();
Command run_command();
Command jobs_command();
Command attach_command();
Command cancel_command();
Command log_command();
Command watch_command();
Command revisions_command();
Command show_command();
Command ls_command();
Command cat_command();
Command history_command();
Command find_command();
Command diff_command();
Command restore_command();
Command undo_command();
Command resume_command();
Command verify_command();
Command drill_command();
Command explain_command();
Command queue_command();
std::vector<Command> guard_commands();
Command pause_command();
std::vector<Command> health_commands();
std::vector<Command> keep_commands();
std::vector<Command> gc_commands();  // "trash empty" first
std::vector<Command> repo_commands();
std::vector<Command> key_commands();
std::vector<Command> set_commands();
std::vector<Command> config_commands();
Command version_command();
Command help_command();
Command completion_command();

}  // namespace backup
