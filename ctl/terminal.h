// What the terminal is and can do, and questions asked on it. Main thread only.
#pragma once

#include <string>
#include <string_view>

#include "common/result.h"

namespace backup {

bool is_terminal(int fd);
// Columns of the terminal on `fd`; $COLUMNS, else 80, when it does not tell; 0 when fd is no
// terminal.
int terminal_width(int fd);
// A terminal that understands nothing but text (TERM unset or "dumb").
bool is_dumb_terminal();
bool locale_is_utf8();

// Asks on /dev/tty or stdin and stderr. `question` ends without a space.
bool ask_yes_no(std::string_view question);
// The answer's first letter in lower case, one of `letters`; the first of them for an empty answer
// or the end of input.
char ask_letter(std::string_view question, std::string_view letters);
// Reads without echo. io when there is no terminal.
Result<std::string> ask_password(std::string_view prompt);

}  // namespace backup
