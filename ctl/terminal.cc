#include "ctl/terminal.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <langinfo.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/unique_fd.h"

namespace backup {

bool is_terminal(int fd) {
    return ::isatty(fd) == 1;
}

int terminal_width(int fd) {
    if (!is_terminal(fd)) return 0;
    struct winsize size {};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    const char* columns = std::getenv("COLUMNS");
    int width = columns == nullptr ? 0 : std::atoi(columns);
    return width > 0 ? width : 80;
}

bool is_dumb_terminal() {
    const char* term = std::getenv("TERM");
    return term == nullptr || *term == '\0' || std::string_view(term) == "dumb";
}

bool locale_is_utf8() {
    return std::string_view(nl_langinfo(CODESET)) == "UTF-8";
}

namespace {

volatile std::sig_atomic_t asked_to_stop = 0;

void write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        ssize_t n = ::write(fd, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

// One line without its end; false at the end of input with nothing read.
bool read_line(int fd, std::string& line) {
    line.clear();
    char c = 0;
    while (true) {
        ssize_t n = ::read(fd, &c, 1);
        if (n < 0 && errno == EINTR && asked_to_stop == 0) continue;
        if (n <= 0) return !line.empty() && asked_to_stop == 0;
        if (c == '\n') return true;
        line += c;
    }
}

}  // namespace

char ask_letter(std::string_view question, std::string_view letters) {
    while (true) {
        write_all(STDERR_FILENO, std::string(question) + " ");
        std::string line;
        if (!read_line(STDIN_FILENO, line) || line.empty()) return letters.front();
        char letter =
            line[0] >= 'A' && line[0] <= 'Z' ? static_cast<char>(line[0] - 'A' + 'a') : line[0];
        if (letters.find(letter) != std::string_view::npos) return letter;
    }
}

bool ask_yes_no(std::string_view question) {
    return ask_letter(std::string(question) + " [y/N]", "ny") == 'y';
}

Result<std::string> ask_password(std::string_view prompt) {
    UniqueFd tty(::open("/dev/tty", O_RDWR | O_CLOEXEC));
    if (!tty) return Error::from_errno(errno, "open the terminal to ask for a password");
    struct termios before {};
    if (::tcgetattr(tty.get(), &before) != 0)
        return Error::from_errno(errno, "read terminal settings");
    // Without this, Ctrl-C in the middle would leave the shell without echo.
    asked_to_stop = 0;
    struct sigaction stop {
    }, old_int{}, old_term{};
    stop.sa_handler = [](int) { asked_to_stop = 1; };  // no SA_RESTART: the read returns
    sigaction(SIGINT, &stop, &old_int);
    sigaction(SIGTERM, &stop, &old_term);
    struct termios silent = before;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(tty.get(), TCSAFLUSH, &silent);
    write_all(tty.get(), prompt);
    std::string line;
    bool read = read_line(tty.get(), line);
    ::tcsetattr(tty.get(), TCSAFLUSH, &before);
    write_all(tty.get(), "\n");
    sigaction(SIGINT, &old_int, nullptr);
    sigaction(SIGTERM, &old_term, nullptr);
    if (!read || asked_to_stop != 0) {
        wipe({reinterpret_cast<std::uint8_t*>(line.data()), line.size()});
        return Error(ErrorKind::cancelled, "no password given");
    }
    return line;
}

}  // namespace backup
