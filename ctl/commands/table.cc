#include "ctl/commands/commands.h"

namespace backup {

const std::vector<Command>& commands() {
    static const std::vector<Command> kCommands = [] {
        std::vector<Command> all;
        auto add = [&](const char* group, std::vector<Command> list) {
            for (auto& command : list) {
                command.group = group;
                all.push_back(std::move(command));
            }
        };
        add("Everyday", {status_command(), run_command(), pause_command(), jobs_command(),
                         attach_command(), cancel_command(), log_command(), watch_command()});
        add("Finding and restoring",
            {history_command(), revisions_command(), show_command(), ls_command(), cat_command(),
             find_command(), diff_command(), restore_command(), undo_command(), resume_command()});
        add("Protection", {explain_command(), queue_command()});
        add("Protection", guard_commands());
        add("Protection", set_commands());
        std::vector<Command> collecting = gc_commands();
        std::vector<Command> keeping = keep_commands();
        keeping.push_back(collecting.front());
        collecting.erase(collecting.begin());
        add("Protection", keeping);
        add("Repository", repo_commands());
        add("Repository", key_commands());
        add("Repository", {verify_command(), drill_command()});
        add("Repository", collecting);
        add("Service", health_commands());
        add("Service", config_commands());
        add("Service", {version_command(), help_command(), completion_command()});
        return all;
    }();
    return kCommands;
}

}  // namespace backup
