#include "ctl/context.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include <unistd.h>

#include "ctl/terminal.h"
#include "ctl/time_words.h"

namespace backup {

namespace {
Looks looks_of(int fd, const Arguments& args) {
    Looks looks;
    looks.width = terminal_width(fd);
    std::string color = args.value_or("--color", "auto");
    const char* no_color = std::getenv("NO_COLOR");
    bool wanted =
        is_terminal(fd) && !is_dumb_terminal() && (no_color == nullptr || *no_color == '\0');
    looks.color = color == "always" || (color == "auto" && wanted);
    looks.unicode = locale_is_utf8() && !(is_terminal(fd) && is_dumb_terminal());
    looks.bytes = args.flag("--bytes");
    looks.utc = args.flag("--utc");
    looks.legend = !args.flag("--no-legend");
    return looks;
}
}  // namespace

Context::Context(const Arguments& arguments, const Clock& clock)
    : args_(arguments),
      clock_(clock),
      looks_(looks_of(STDOUT_FILENO, arguments)),
      note_looks_(looks_of(STDERR_FILENO, arguments)) {}

Result<> Context::check_globals() {
    auto usage = [](const char* message) {
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, message);
    };
    if (args_.flag("--user") && args_.flag("--system"))
        return usage("--user and --system exclude each other");
    if (args_.flag("--wait") && args_.flag("--no-wait"))
        return usage("--wait and --no-wait exclude each other");
    if (args_.flag("--no-wait")) wait_mode_ = WaitMode::no_wait;
    if (auto wait = args_.value("--wait")) {
        wait_mode_ = WaitMode::wait;
        if (*wait != "forever") wait_seconds_ = TRY_DURING(parse_duration(*wait), "--wait");
    }
    return {};
}

Result<Client*> Context::client() {
    if (!client_) {
        BusChoice choice = args_.flag("--system") ? BusChoice::system
                           : args_.flag("--user") ? BusChoice::user
                                                  : BusChoice::automatic;
        client_ = TRY(Client::connect(choice));
        if (args_.flag("--all-users")) client_->show_all_users();
    }
    return client_.get();
}

bool Context::interactive() const {
    return !json() && is_terminal(STDIN_FILENO) && is_terminal(STDERR_FILENO);
}
bool Context::watched() const {
    return is_terminal(STDOUT_FILENO) || is_terminal(STDERR_FILENO);
}

Result<> Context::confirm(std::string_view question) {
    if (yes()) return {};
    if (!interactive())
        return Error(
            ErrorKind::conflict, ErrorCode::conflict,
            "not done without a terminal to ask on\nadd --yes to go on: " + std::string(question));
    if (ask_yes_no(wrap_words(question, note_looks_.width - 8, 2))) return {};
    return Error(ErrorKind::conflict, ErrorCode::conflict, "nothing was changed");
}

void Context::raw(std::string_view bytes) {
    if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size()) write_failed_ = true;
}
void Context::line(std::string_view text) {
    raw(text);
    raw("\n");
}
void Context::table(const Table& table) {
    for (const auto& text : table.lines(looks_)) line(text);
}
void Context::warn(std::string_view text) {
    std::fflush(stdout);
    std::string whole = std::string(text) + "\n";
    std::fwrite(whole.data(), 1, whole.size(), stderr);
}
void Context::sentence(std::string_view text) {
    if (!quiet()) warn(wrap_words(text, note_looks_.width, 2));
}
void Context::note(std::string_view text) {
    if (!quiet()) warn(text);
}

JsonObject Context::object(std::string_view type) const {
    JsonObject object;
    object.add("schema", 1).add("type", type).add("time", json_time(now()));
    return object;
}
void Context::print(const JsonObject& object) {
    line(object.text());
    std::fflush(stdout);  // whoever reads a stream wants each line when it happens
}

Result<> Context::flush() {
    errno = 0;
    if (std::fflush(stdout) != 0 || write_failed_ || std::ferror(stdout) != 0)
        return Error::from_errno(errno == 0 ? EIO : errno, "write the output");
    return {};
}

std::string Context::json_time(Timestamp time) const {
    return looks_.utc ? format_rfc3339_utc(time) : format_rfc3339(time);
}
void Context::add_time(JsonObject& object, std::string_view key, std::uint64_t usec) const {
    if (usec == 0)
        object.add_null(key);
    else
        object.add(key, json_time(from_usec(usec)));
}

}  // namespace backup
