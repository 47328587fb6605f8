#include "common/failpoint.h"

#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "common/log.h"

namespace backup::failpoint_detail {

namespace {

struct Point {
    std::string action, argument;
    std::uint64_t at = 1;
    bool and_after = false;
    std::uint64_t count = 0;
};

std::mutex mutex;

void add_point(std::map<std::string, Point, std::less<>>& points, std::string_view text) {
    std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) return;
    Point point;
    std::string_view rest = text.substr(equals + 1);
    if (std::size_t at = rest.rfind('@'); at != std::string_view::npos) {
        std::string_view number = rest.substr(at + 1);
        if (!number.empty() && number.back() == '+') {
            point.and_after = true;
            number.remove_suffix(1);
        }
        std::from_chars(number.data(), number.data() + number.size(), point.at);
        rest = rest.substr(0, at);
    }
    std::size_t colon = rest.find(':');
    point.action = rest.substr(0, colon);
    if (colon != std::string_view::npos) point.argument = rest.substr(colon + 1);
    points[std::string(text.substr(0, equals))] = std::move(point);
}

std::map<std::string, Point, std::less<>>& points() {
    static auto* all = [] {
        auto* made = new std::map<std::string, Point, std::less<>>;
        const char* text = std::getenv("BACKUPD_FAILPOINTS");
        std::string_view rest = text != nullptr ? text : "";
        while (!rest.empty()) {
            std::size_t end = rest.find(';');
            add_point(*made, rest.substr(0, end));
            rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
        }
        return made;
    }();
    return *all;
}

void make(const std::string& file) {
    int fd = ::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) ::close(fd);
}

bool exists(const std::string& file) {
    return ::access(file.c_str(), F_OK) == 0;
}

void wait_while_there(const std::string& file) {
    while (exists(file)) std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

}  // namespace

const bool is_armed = std::getenv("BACKUPD_FAILPOINTS") != nullptr;

bool reached(std::string_view name) {
    Point hit;
    {
        std::lock_guard lock(mutex);
        auto found = points().find(name);
        if (found == points().end()) return false;
        Point& point = found->second;
        ++point.count;
        if (point.and_after ? point.count < point.at : point.count != point.at) return false;
        hit = point;
    }
    bool may_need_file = hit.action == "fail" || hit.action == "kill";
    bool needs_file = hit.action == "gate" || (may_need_file && !hit.argument.empty());
    if (needs_file && !exists(hit.argument)) return false;
    log_warning("failpoint " + std::string(name) + ": " + hit.action);
    if (hit.action == "kill") ::kill(::getpid(), SIGKILL);
    if (hit.action == "pause") make(hit.argument);
    if (hit.action == "gate") make(hit.argument + ".reached");
    if (hit.action == "pause" || hit.action == "gate") wait_while_there(hit.argument);
    if (hit.action == "sleep")
        std::this_thread::sleep_for(
            std::chrono::milliseconds(std::strtoul(hit.argument.c_str(), nullptr, 10)));
    return hit.action == "fail";
}

}  // namespace backup::failpoint_detail
