// What a set would take in, on the bus: Manager.Simulate.
#include <algorithm>

#include <systemd/sd-bus.h>

#include "daemon/ipc/manager_object.h"
#include "daemon/ipc/set_object.h"
#include "daemon/jobs/set_limits.h"
#include "daemon/jobs/simulation.h"
#include "daemon/jobs/tasks.h"
#include "daemon/policy/limit_rules.h"

namespace backup {

namespace {

constexpr std::uint64_t kMostSeconds = 3600;

struct Simulating {
    const Configuration& configuration;
    SimulationTask task;

    Result<> operator()(LineWriter& lines) const {
        SimulationTask now = task;
        now.set = TRY(configuration.effective(task.set));
        const Simulation found = TRY(simulate(now, lines.stop()));
        JsonLine line;
        for (const auto& path : found.paths)
            TRY(lines.write(line.text("part", "path")
                                .name("path", path.path)
                                .number("items", path.items)
                                .number("bytes", path.bytes)));
        for (const auto& rule : found.rules)
            TRY(lines.write(line.text("part", "rule")
                                .text("rule", rule.rule)
                                .name("pattern", rule.pattern)
                                .name("origin", rule.origin)
                                .name("example", rule.example)
                                .number("places", rule.places)
                                .number("items", rule.items)
                                .number("bytes", rule.bytes)));
        TRY(tell_limits(now.set, found, lines, line));
        for (const auto& one : found.left_out)
            TRY(lines.write(
                line.text("part", "left-out").name("path", one.path).text("limit", one.limit)));
        const Measured& measured = found.measured;
        line.text("part", "total")
            .number("items", measured.items())
            .number("bytes", measured.bytes())
            .number("new_items", measured.new_items)
            .number("new_bytes", measured.new_bytes)
            .number("changed_files", measured.changed_files)
            .number("changed_bytes", measured.changed_bytes)
            .number("left_out_items", found.limits.left_out_items)
            .number("left_out_bytes", found.limits.left_out_bytes)
            .boolean("more_left_out", found.more_left_out)
            .boolean("partial", found.is_partial);
        if (!found.problem.empty()) line.text("problem", printable(found.problem));
        return lines.write(line);
    }

    // As it would be after the run, against what is allowed.
    Result<> tell_limits(const BackupSet& set, const Simulation& found, LineWriter& lines,
                         JsonLine& line) const {
        for (const LimitName& limit : kLimits) {
            const std::uint64_t soft = set.limits.soft.*limit.member;
            const std::uint64_t hard = set.limits.hard.*limit.member;
            if (soft == 0 && hard == 0) continue;
            const Measured& measured = found.measured;
            std::uint64_t wanted = 0;
            if (limit.name == "items") wanted = measured.items() + measured.too_large_files;
            if (limit.name == "bytes") wanted = measured.bytes() + measured.too_large_bytes;
            if (limit.name == "revisions") wanted = found.revisions + 1;
            if (limit.name == "churn")
                wanted = found.revisions == 0 ? 0 : task.churn_before + measured.churn();
            const bool is_hit =
                std::ranges::find(found.limits.hit, limit.name) != found.limits.hit.end() ||
                (limit.name == "revisions" && hard != 0 && wanted > hard);
            line.text("part", "limit")
                .text("limit", std::string(limit.name))
                .number("soft", soft)
                .number("hard", hard)
                .boolean("size", limit.is_size)
                .boolean("hit", is_hit);
            if (limit.name != "file-size") line.number("wanted", wanted);
            TRY(lines.write(line));
        }
        return {};
    }
};

}  // namespace

Result<> ManagerObject::simulate(std::shared_ptr<Call> call) {
    BackupSet set;
    set.id = TRY(call->string());
    wire::DictReader config(TRY(call->dict()));
    wire::DictReader options(TRY(call->dict()));
    SimulationTask task;
    if (auto seconds = options.number("seconds"))
        task.longest = std::chrono::seconds(std::min(*seconds, kMostSeconds));
    TRY(options.finish());
    Service& service = served_.service;
    const auto known = service.find_set(set.id);
    if (known.ok() && !(*known)->is_found) set = **known;
    TRY(change_set(set, config));
    TRY(config.finish());
    if (set.paths.empty())
        return Error(ErrorKind::not_found, ErrorCode::no_such_set,
                     "there is no set '" + printable(set.id) + "', and no paths are named");
    if (known.ok()) task.pool = &service.pool();
    task.own = own_places(service.policy(), service.state_dir());
    task.churn_before = churn_of_day(service.set_status(set.id).record, service.clock().now());
    task.set = std::move(set);
    UniqueFd stream = TRY(
        served_.streams.start(call->uid(), Simulating{service.configuration(), std::move(task)}));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

}  // namespace backup
