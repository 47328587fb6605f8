#include "daemon/ipc/metrics_object.h"

namespace backup {

const Interface& MetricsObject::interface() {
    static Interface table("Metrics");
    static bool once = [] {
        table.method("GetOpenMetrics", "a{sv}", "options", "s", "text", Access::anyone,
                     &MetricsObject::get_open_metrics);
        return true;
    }();
    (void)once;
    return table;
}

wire::Value MetricsObject::property(std::string_view) const {
    return "";
}

Result<> MetricsObject::get_open_metrics(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    call->reply({served_.service.metrics_text()});
    return {};
}

}  // namespace backup
