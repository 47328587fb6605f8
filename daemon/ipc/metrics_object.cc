#include "daemon/ipc/metrics_object.h"

namespace backup {

const Interface& MetricsObject::interface() {
    static Interface table("Metrics");
    static bool once = [] {
        table
            .method("GetOpenMetrics", "a{sv}", "options", "s", "text", Access::anyone,
                    &MetricsObject::get_open_metrics)
            .property("Backup", "a{st}", Changes::silent)
            .property("Restore", "a{st}", Changes::silent);
        return true;
    }();
    (void)once;
    return table;
}

wire::Value MetricsObject::property(std::string_view name) const {
    const Metrics& metrics = served_.service.metrics();
    const Metrics::Sums sums = name == "Restore" ? metrics.restores() : metrics.backups();
    return wire::Counters(sums.begin(), sums.end());
}

Result<> MetricsObject::get_open_metrics(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    call->reply({served_.service.metrics_text()});
    return {};
}

}  // namespace backup
