// health: how well all is, answered by exit code. metrics: the same and more, for Prometheus.
#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"

namespace backup {

namespace {

ExitCode code_of(const std::string& health) {
    if (health == "ok") return ExitCode::done;
    if (health == "degraded") return ExitCode::health_degraded;
    return health == "at-risk" ? ExitCode::health_at_risk : ExitCode::health_unknown;
}

Result<ExitCode> health(Context& context) {
    Client* client = TRY(context.client());
    const Client::HealthNow now = TRY(client->health());
    const ExitCode code = code_of(now.health);
    if (context.json()) {
        std::vector<JsonObject> findings;
        for (const Dict& finding : now.findings) {
            JsonObject object;
            for (const char* key : {"level", "code", "subject", "reason", "remedy"})
                object.add(key, finding.text(key));
            findings.push_back(std::move(object));
        }
        context.print(context.object("health")
                          .add("health", now.health)
                          .add("findings", findings)
                          .add("exit_code", static_cast<int>(code)));
        return code;
    }
    if (context.quiet()) return code;
    const Looks& looks = context.looks();
    context.line("health is " + paint(now.health,
                                      now.health == "ok"         ? Tone::good
                                      : now.health == "degraded" ? Tone::warn
                                      : now.health == "at-risk"  ? Tone::bad
                                                                 : Tone::plain,
                                      looks));
    for (const Dict& finding : now.findings) {
        context.line(
            paint("! ", finding.text("level") == "at-risk" ? Tone::bad : Tone::warn, looks) +
            wrap_words(printable(finding.text("subject") + ": " + finding.text("reason")),
                       looks.width == 0 ? 0 : looks.width - 2, 2));
        context.line("  " + wrap_words(printable(finding.text("remedy")),
                                       looks.width == 0 ? 0 : looks.width - 2, 2));
    }
    if (now.health == "unknown") context.line("there is no set that runs");
    return code;
}

Result<ExitCode> metrics(Context& context) {
    Client* client = TRY(context.client());
    const std::string text = TRY(client->metrics());
    if (context.json())
        context.print(context.object("metrics").add("text", text));
    else
        context.raw(text);
    return ExitCode::done;
}

}  // namespace

std::vector<Command> health_commands() {
    return {
        {.verb = "health",
         .summary = "how well all is, by exit code",
         .description = "Exits with 0 when all is well, 20 when health is degraded, 21 when "
                        "something is at risk, 22 when nothing is known, and says what is not "
                        "well and what to do about it.",
         .examples = {{"backupctl health -q || mail -s 'backups' root", "for a script"}},
         .run = health},
        {.verb = "metrics",
         .summary = "what is counted and measured, as Prometheus text",
         .description = "Prints what a Prometheus server or node_exporter's textfile collector "
                        "reads. Families of backups, restores, collections and verifications "
                        "are apart. [metrics] textfile in backupd.toml lets the daemon write it "
                        "by itself.",
         .run = metrics}};
}

}  // namespace backup
