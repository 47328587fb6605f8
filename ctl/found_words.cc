#include "ctl/found_words.h"

#include "common/path.h"

namespace backup {

std::string kind_of_letter(const std::string& letter) {
    if (letter == "f") return "file";
    if (letter == "d") return "directory";
    if (letter == "l") return "symlink";
    if (letter == "p") return "fifo";
    if (letter == "s") return "socket";
    if (letter == "c") return "char-device";
    if (letter == "b") return "block-device";
    return letter;
}

std::string revision_name(const std::string& set, std::uint64_t number, const std::string& id) {
    if (set.empty() || number == 0) return id.substr(0, 8);
    return set + "/" + std::to_string(number);
}

std::string shell_word(const std::string& text) {
    const bool plain =
        !text.empty() && text.find_first_not_of(
                             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "/._-+:@%,=") == std::string::npos;
    if (plain) return text;
    std::string quoted = "'";
    for (char c : text) {
        if (c == '\'')
            quoted += "'\\''";
        else
            quoted += c;
    }
    return printable(quoted + "'");
}

std::uint64_t mtime_usec(const Record& entry, const char* key) {
    const std::int64_t time = entry.integer(key);
    return time > 0 ? static_cast<std::uint64_t>(time / 1000) : 0;
}

std::string mtime_json(const Context& context, const Record& entry, const char* key) {
    return context.json_time(Timestamp(std::chrono::nanoseconds(entry.integer(key))));
}

}  // namespace backup
