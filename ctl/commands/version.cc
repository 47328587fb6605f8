// version: of backupctl and of the daemon it reaches.
#include "backupd_config.h"
#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"

namespace backup {

namespace {

Result<ExitCode> run(Context& context) {
    auto client = context.client();
    auto manager = client.ok() ? (*client)->manager() : Result<Dict>(client.error());
    if (context.json()) {
        JsonObject object = context.object("version");
        object.add("backupctl", BACKUPD_VERSION);
        if (manager.ok())
            object.add("backupd", manager->text("Version"))
                .add("scope", manager->text("Scope"))
                .add("features", manager->texts("Features"));
        else
            object.add_null("backupd");
        context.print(object);
        return ExitCode::done;
    }
    context.line("backupctl " BACKUPD_VERSION);
    if (manager.ok())
        context.line("backupd   " + manager->text("Version") + " (" + manager->text("Scope") + ")");
    else
        context.line("backupd   not running");
    return ExitCode::done;
}

}  // namespace

Command version_command() {
    return {.verb = "version", .summary = "of backupctl and of the daemon", .run = run};
}

}  // namespace backup
