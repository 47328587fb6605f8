// A stand-in for backupd on the session bus: a few recorded answers and badly timed events, so that
// the client can be tested against what the real daemon does once in a thousand runs. usage:
// fake_service SCENARIO [ERROR_NAME]; prints "ready" when it owns the name.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <systemd/sd-bus.h>
#include <unistd.h>

#include "backupd_config.h"

namespace {

constexpr const char* kName = BACKUPD_BUS_NAME;
constexpr const char* kRoot = "/org/backupd1";
constexpr const char* kSet = "/org/backupd1/set/home";
constexpr const char* kJob = "/org/backupd1/job/12";
const std::string kRevision(64, 'a');
std::string scenario, error_name;
bool done = false;
std::string result;

void must(int r, const char* what) {
    if (r >= 0) return;
    std::fprintf(stderr, "fake_service: %s: %d\n", what, r);
    std::exit(1);
}

int text(sd_bus*, const char*, const char*, const char* property, sd_bus_message* m, void*,
         sd_bus_error*) {
    std::string name = property, value;
    if (name == "State") value = done ? "done" : "running";
    if (name == "Version") value = "0.0-fake";
    if (name == "Scope") value = "user";
    if (name == "Health") value = "ok";
    if (name == "Repository") value = "disk";
    if (name == "Tracking") value = scenario == "live" ? "live" : "degraded";
    if (name == "Watching") value = "inotify";
    if (name == "Kind") value = "backup";
    if (name == "Object") return sd_bus_message_append(m, "o", kSet);
    if (name == "Result") value = done ? result : "";
    if (name == "ErrorName") value = done ? error_name : "";
    if (name == "Message" && !error_name.empty()) value = "as the scenario wants";
    if (name == "Revision" && done && error_name.empty()) value = kRevision;
    return sd_bus_message_append(m, "s", value.c_str());
}
int number(sd_bus*, const char*, const char*, const char* property, sd_bus_message* m, void*,
           sd_bus_error*) {
    std::string name = property;
    // Counters without a signal: each look sees one more.
    static std::uint64_t looks = 0;
    if (name == "PendingChanges" && scenario != "live") ++looks;
    std::uint64_t value = name == "Id"                   ? 12
                          : name == "Gaps"               ? 1
                          : name == "PendingChanges"     ? looks
                          : name == "PendingBytes"       ? 4096 * looks
                          : name == "OldestPendingUSec"  ? 1'700'000'000'000'000
                          : name == "ProtectedUntilUSec" ? 1'600'000'000'000'000
                          : name == "BytesTotal"         ? 1000
                          : name == "BytesDone"          ? 400
                                                         : 0;
    return sd_bus_message_append(m, "t", value);
}
int count(sd_bus*, const char*, const char*, const char* property, sd_bus_message* m, void*,
          sd_bus_error*) {
    return sd_bus_message_append(
        m, "u", std::string(property) == "ErrorCount" && scenario == "exceptions" ? 1u : 0u);
}
int yes(sd_bus*, const char*, const char*, const char*, sd_bus_message* m, void*, sd_bus_error*) {
    return sd_bus_message_append(m, "b", 1);
}
int part(sd_bus*, const char*, const char*, const char*, sd_bus_message* m, void*, sd_bus_error*) {
    return sd_bus_message_append(m, "d", 0.4);
}
int none(sd_bus*, const char*, const char*, const char* property, sd_bus_message* m, void*,
         sd_bus_error*) {
    return sd_bus_message_append(m, std::string(property) == "ActiveJobs" ? "ao" : "as", 0);
}
int append_details(sd_bus_message* m) {
    return sd_bus_message_append(m, "a{sv}", 2, "files-new", "t", std::uint64_t{3}, "seconds", "d",
                                 0.25);
}
int details(sd_bus*, const char*, const char*, const char*, sd_bus_message* m, void*,
            sd_bus_error*) {
    return append_details(m);
}

int list_sets(sd_bus_message* m, void*, sd_bus_error*) {
    return sd_bus_reply_method_return(m, "a(so)", 1, "home", kSet);
}
int list_nothing(sd_bus_message* m, void*, sd_bus_error*) {
    return sd_bus_reply_method_return(m, "a(so)", 0);
}

void finish(sd_bus* bus) {
    done = true;
    sd_bus_message* signal = nullptr;
    must(sd_bus_message_new_signal(bus, &signal, kJob, (std::string(kName) + ".Job").c_str(),
                                   "Finished"),
         "signal");
    must(sd_bus_message_append(signal, "sss", result.c_str(), error_name.c_str(),
                               error_name.empty() ? "" : "as the scenario wants"),
         "fill");
    must(append_details(signal), "details");
    must(sd_bus_send(bus, signal, nullptr), "send");
    sd_bus_message_unref(signal);
}

void tell(sd_bus* bus, const char* path, const char* interface, const char* member,
          const char* types, ...) {
    sd_bus_message* signal = nullptr;
    must(sd_bus_message_new_signal(bus, &signal, path,
                                   (std::string(kName) + "." + interface).c_str(), member),
         "signal");
    va_list values;
    va_start(values, types);
    must(sd_bus_message_appendv(signal, types, values), "fill");
    va_end(values);
    must(sd_bus_send(bus, signal, nullptr), "send");
    sd_bus_message_unref(signal);
}

int start_backup(sd_bus_message* m, void*, sd_bus_error*) {
    if (scenario == "refuse")
        return sd_bus_reply_method_errorf(m, error_name.c_str(), "as the scenario wants");
    sd_bus* bus = sd_bus_message_get_bus(m);
    tell(bus, kRoot, "Manager", "JobNew", "tos", std::uint64_t{12}, kJob, "backup");
    tell(bus, kSet, "Set", "RevisionCommitted", "so", kRevision.c_str(), kJob);
    // The end is told before the answer that names the job: a client that subscribes late never
    // hears of it.
    if (scenario != "endless" && scenario != "vanish") finish(sd_bus_message_get_bus(m));
    int r = sd_bus_reply_method_return(m, "o", kJob);
    if (scenario == "vanish") {
        sd_bus_flush(sd_bus_message_get_bus(m));
        ::usleep(300'000);
        std::_Exit(0);
    }
    return r;
}

int reply_stream(sd_bus_message* m, const std::string& lines) {
    int ends[2];
    if (::pipe(ends) != 0) return -1;
    if (::write(ends[1], lines.data(), lines.size()) < 0) return -1;
    ::close(ends[1]);
    int r = sd_bus_reply_method_return(m, "h", ends[0]);
    ::close(ends[0]);
    return r;
}
int list_files(sd_bus_message* m, void*, sd_bus_error*) {
    std::string lines =
        "{\"path\":\"a\\u001b[31m\\nb\",\"type\":\"f\",\"size\":5,\"mtime_ns\":1700000000000000001,"
        "\"mode\":420}\n"
        "{\"path_b64\":\"eP95\",\"type\":\"f\",\"size\":5,\"mtime_ns\":1,\"mode\":420}\n";
    return reply_stream(m, scenario == "torn" ? lines : lines + "{\"end\":true,\"count\":2}\n");
}
int report(sd_bus_message* m, void*, sd_bus_error*) {
    return reply_stream(m,
                        "{\"type\":\"exception\",\"path_b64\":\"L3j/"
                        "eQ==\",\"kind\":\"read\",\"message\":\"cannot be read\"}\n"
                        "{\"end\":true,\"count\":1}\n");
}
int list_queue(sd_bus_message* m, void*, sd_bus_error*) {
    std::string lines =
        "{\"path\":\"/home/a\\u001b[31m\\nb\",\"kind\":\"modified\",\"since\":"
        "\"2023-11-14T22:13:20Z\",\"bytes\":5,\"held\":true}\n"
        "{\"path_b64\":\"L2hvbWUveP95\",\"kind\":\"created\",\"since\":"
        "\"2023-11-14T22:13:21.5Z\",\"bytes\":0,\"held\":false}\n";
    return reply_stream(m, scenario == "torn" ? lines : lines + "{\"end\":true,\"count\":2}\n");
}
int get_tracking(sd_bus_message* m, void*, sd_bus_error*) {
    if (scenario == "refuse")
        return sd_bus_reply_method_errorf(m, error_name.c_str(), "as the scenario wants");
    return sd_bus_reply_method_return(
        m, "a{sv}aa{sv}", 2, "reason", "s", "the limit of watches is reached: raise it",
        "missed-changes", "t", std::uint64_t{0}, 1, 5, "place", "ay", 6, '/', 'h', 'o', 'm', 'e', 0,
        "type", "s", "ext4", "watching", "s", "inotify", "state", "s", "live", "problem", "s",
        "7 folders are not watched");
}
int explain(sd_bus_message* m, void*, sd_bus_error*) {
    sd_bus_message* reply = nullptr;
    must(sd_bus_message_new_method_return(m, &reply), "reply");
    must(sd_bus_message_append(reply, "a{sv}", 5, "path", "ay", 8, '/', 'h', 'o', 'm', 'e', '/',
                               0xff, 0, "state", "s", scenario == "gone" ? "missing" : "pending",
                               "exists", "b", scenario == "gone" ? 0 : 1, "type", "s", "file",
                               "size", "t", std::uint64_t{5}),
         "path");
    must(sd_bus_message_append(
             reply, "aa{sv}", 1, 6, "set", "s", "home", "state", "s", "pending", "root", "ay", 6,
             '/', 'h', 'o', 'm', 'e', 0, "pending", "a{sv}", 2, "kind", "s", "modified", "since",
             "t", std::uint64_t{1'700'000'000'000'000}, "version", "a{sv}", 3, "revision", "s",
             kRevision.c_str(), "number", "t", std::uint64_t{7}, "type", "s", "file", "blocked-by",
             "as", 2, "disabled", "something-new"),
         "set");
    int r = sd_bus_send(nullptr, reply, nullptr);
    sd_bus_message_unref(reply);
    return r;
}
int append_revision(sd_bus_message* m) {
    return sd_bus_message_append(m, "a{sv}", 4, "id", "s", kRevision.c_str(), "number", "t",
                                 std::uint64_t{7}, "set", "s", "home", "time", "t",
                                 std::uint64_t{1'700'000'000'000'000});
}
int list_revisions(sd_bus_message* m, void*, sd_bus_error*) {
    sd_bus_message* reply = nullptr;
    must(sd_bus_message_new_method_return(m, &reply), "reply");
    must(sd_bus_message_open_container(reply, 'a', "a{sv}"), "open");
    must(append_revision(reply), "revision");
    must(sd_bus_message_close_container(reply), "close");
    must(sd_bus_message_append(reply, "s", ""), "page");
    int r = sd_bus_send(nullptr, reply, nullptr);
    sd_bus_message_unref(reply);
    return r;
}
int get_revision(sd_bus_message* m, void*, sd_bus_error*) {
    sd_bus_message* reply = nullptr;
    must(sd_bus_message_new_method_return(m, &reply), "reply");
    must(append_revision(reply), "revision");
    int r = sd_bus_send(nullptr, reply, nullptr);
    sd_bus_message_unref(reply);
    return r;
}
int cancel(sd_bus_message* m, void*, sd_bus_error*) {
    result = "cancelled";
    error_name = std::string(kName) + ".Error.Cancelled";
    finish(sd_bus_message_get_bus(m));
    return sd_bus_reply_method_return(m, "");
}

const sd_bus_vtable kManager[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("ListSets", "a{sv}", "a(so)", list_sets, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("ListRepositories", "a{sv}", "a(so)", list_nothing, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Explain", "aya{sv}", "a{sv}aa{sv}", explain, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL("JobNew", "tos", 0),
    SD_BUS_PROPERTY("Version", "s", text, 0, 0),
    SD_BUS_PROPERTY("Scope", "s", text, 0, 0),
    SD_BUS_PROPERTY("State", "s", text, 0, 0),
    SD_BUS_PROPERTY("Health", "s", text, 0, 0),
    SD_BUS_PROPERTY("ActiveJobs", "ao", none, 0, 0),
    SD_BUS_PROPERTY("Notices", "as", none, 0, 0),
    SD_BUS_VTABLE_END};
const sd_bus_vtable kSets[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("StartBackup", "a{sv}", "o", start_backup, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("ListFiles", "saya{sv}", "h", list_files, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("ListRevisions", "a{sv}", "aa{sv}s", list_revisions, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("GetRevision", "sa{sv}", "a{sv}", get_revision, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("ListQueue", "a{sv}", "h", list_queue, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("GetTracking", "a{sv}", "a{sv}aa{sv}", get_tracking, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL("RevisionCommitted", "so", 0),
    SD_BUS_PROPERTY("Tracking", "s", text, 0, 0),
    SD_BUS_PROPERTY("Watching", "s", text, 0, 0),
    SD_BUS_PROPERTY("Gaps", "t", number, 0, 0),
    SD_BUS_PROPERTY("PendingChanges", "t", number, 0, 0),
    SD_BUS_PROPERTY("PendingBytes", "t", number, 0, 0),
    SD_BUS_PROPERTY("OldestPendingUSec", "t", number, 0, 0),
    SD_BUS_PROPERTY("ProtectedUntilUSec", "t", number, 0, 0),
    SD_BUS_PROPERTY("State", "s", text, 0, 0),
    SD_BUS_PROPERTY("Repository", "s", text, 0, 0),
    SD_BUS_PROPERTY("Enabled", "b", yes, 0, 0),
    SD_BUS_VTABLE_END};
const sd_bus_vtable kJobs[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Cancel", "a{sv}", "", cancel, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("GetReport", "a{sv}", "h", report, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL("Finished", "sssa{sv}", 0),
    SD_BUS_PROPERTY("Id", "t", number, 0, 0),
    SD_BUS_PROPERTY("Kind", "s", text, 0, 0),
    SD_BUS_PROPERTY("Object", "o", text, 0, 0),
    SD_BUS_PROPERTY("State", "s", text, 0, 0),
    SD_BUS_PROPERTY("Result", "s", text, 0, 0),
    SD_BUS_PROPERTY("ErrorName", "s", text, 0, 0),
    SD_BUS_PROPERTY("Message", "s", text, 0, 0),
    SD_BUS_PROPERTY("Revision", "s", text, 0, 0),
    SD_BUS_PROPERTY("Progress", "d", part, 0, 0),
    SD_BUS_PROPERTY("BytesDone", "t", number, 0, 0),
    SD_BUS_PROPERTY("BytesTotal", "t", number, 0, 0),
    SD_BUS_PROPERTY("ErrorCount", "u", count, 0, 0),
    SD_BUS_PROPERTY("Details", "a{sv}", details, 0, 0),
    SD_BUS_VTABLE_END};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) return 2;
    scenario = argv[1];
    if (argc > 2) error_name = argv[2];
    result = scenario == "exceptions" ? "exceptions" : error_name.empty() ? "complete" : "failed";
    sd_bus* bus = nullptr;
    must(sd_bus_open_user(&bus), "open the bus");
    must(sd_bus_add_object_vtable(bus, nullptr, kRoot, (std::string(kName) + ".Manager").c_str(),
                                  kManager, nullptr),
         "manager");
    must(sd_bus_add_object_vtable(bus, nullptr, kSet, (std::string(kName) + ".Set").c_str(), kSets,
                                  nullptr),
         "set");
    must(sd_bus_add_object_vtable(bus, nullptr, kJob, (std::string(kName) + ".Job").c_str(), kJobs,
                                  nullptr),
         "job");
    must(sd_bus_request_name(bus, kName, 0), "own the name");
    std::puts("ready");
    std::fflush(stdout);
    while (true) {
        int r = sd_bus_process(bus, nullptr);
        must(r, "process");
        if (r == 0) must(sd_bus_wait(bus, UINT64_MAX), "wait");
    }
}
