#include "ctl/bus_values.h"

#include <cerrno>
#include <cstdint>
#include <optional>
#include <variant>

#include <fcntl.h>

#include "ctl/exit_code.h"

namespace backup {

namespace {
ErrorKind kind_of(ErrorCode code) {
    switch (exit_code(code)) {
        case ExitCode::usage:
            return ErrorKind::invalid;
        case ExitCode::not_authorised:
            return ErrorKind::denied;
        case ExitCode::not_found:
        case ExitCode::repository_missing:
            return ErrorKind::not_found;
        case ExitCode::refused:
            return ErrorKind::conflict;
        case ExitCode::damage:
            return ErrorKind::corrupt;
        default:
            return ErrorKind::io;
    }
}
}  // namespace

Error from_bus_error(const sd_bus_error& error, int result) {
    if (error.name == nullptr) {
        bool lost = result == -ECONNRESET || result == -ENOTCONN || result == -ETIMEDOUT ||
                    result == -EPIPE || result == -ESHUTDOWN;
        Error failure = Error::from_errno(
            -result, lost ? "the connection to backupd was lost" : "call backupd");
        return lost ? std::move(failure).with_code(ErrorCode::daemon_unreachable) : failure;
    }
    ErrorCode code = error_code_from_bus(error.name);
    std::string message = error.message != nullptr ? error.message : error.name;
    if (std::string_view(error.name) == SD_BUS_ERROR_NO_REPLY)
        message = "backupd did not answer\nsee what it is doing: backupctl log";
    if (code == ErrorCode::unsupported &&
        std::string_view(error.name) == SD_BUS_ERROR_UNKNOWN_METHOD)
        message = "the running backupd does not know this request; is it older than backupctl? (" +
                  message + ")";
    return {kind_of(code), code, message};
}

namespace {
bool append(sd_bus_message* m, const Value& value);
}  // namespace

bool append_names(sd_bus_message* m, const std::vector<std::string>& names) {
    if (sd_bus_message_open_container(m, 'a', "ay") < 0) return false;
    for (const auto& name : names)
        if (sd_bus_message_append_array(m, 'y', name.c_str(), name.size() + 1) < 0) return false;
    return sd_bus_message_close_container(m) >= 0;
}

bool append_texts(sd_bus_message* m, const std::vector<std::string>& texts) {
    if (sd_bus_message_open_container(m, 'a', "s") < 0) return false;
    for (const auto& text : texts)
        if (sd_bus_message_append(m, "s", text.c_str()) < 0) return false;
    return sd_bus_message_close_container(m) >= 0;
}

bool append_dict(sd_bus_message* m, const Dict& dict) {
    if (sd_bus_message_open_container(m, 'a', "{sv}") < 0) return false;
    for (const auto& [key, value] : dict.values()) {
        if (sd_bus_message_open_container(m, 'e', "sv") < 0) return false;
        if (sd_bus_message_append(m, "s", key.c_str()) < 0 || !append(m, value)) return false;
        if (sd_bus_message_close_container(m) < 0) return false;
    }
    return sd_bus_message_close_container(m) >= 0;
}

namespace {
struct AppendVariant {
    sd_bus_message* m;
    template <typename Fill>
    bool in(const char* type, Fill fill) const {
        return sd_bus_message_open_container(m, 'v', type) >= 0 && fill() &&
               sd_bus_message_close_container(m) >= 0;
    }
    bool operator()(bool value) const {
        return sd_bus_message_append(m, "v", "b", int{value}) >= 0;
    }
    bool operator()(std::uint32_t value) const {
        return sd_bus_message_append(m, "v", "u", value) >= 0;
    }
    bool operator()(std::uint64_t value) const {
        return sd_bus_message_append(m, "v", "t", value) >= 0;
    }
    bool operator()(std::int64_t value) const {
        return sd_bus_message_append(m, "v", "x", value) >= 0;
    }
    bool operator()(double value) const { return sd_bus_message_append(m, "v", "d", value) >= 0; }
    bool operator()(const std::string& value) const {
        return sd_bus_message_append(m, "v", "s", value.c_str()) >= 0;
    }
    bool operator()(const FileName& value) const {
        return in("ay", [&] {
            return sd_bus_message_append_array(m, 'y', value.bytes.c_str(),
                                               value.bytes.size() + 1) >= 0;
        });
    }
    bool operator()(const std::vector<std::string>& values) const {
        return in("as", [&] { return append_texts(m, values); });
    }
    bool operator()(const std::vector<FileName>& values) const {
        std::vector<std::string> names;
        for (const auto& value : values) names.push_back(value.bytes);
        return in("aay", [&] { return append_names(m, names); });
    }
};
bool append(sd_bus_message* m, const Value& value) {
    return std::visit(AppendVariant{m}, value);
}
}  // namespace

namespace {
FileName read_name(sd_bus_message* m) {
    const void* data = nullptr;
    std::size_t size = 0;
    if (sd_bus_message_read_array(m, 'y', &data, &size) < 0) return {};
    std::string bytes(static_cast<const char*>(data), size);
    if (!bytes.empty() && bytes.back() == '\0') bytes.pop_back();
    return {std::move(bytes)};
}

// Reads what stands in a variant; types that no property of ours has are skipped.
std::optional<Value> read_contents(sd_bus_message* m, std::string_view type) {
    if (type == "s" || type == "o" || type == "g") {
        const char* text = nullptr;
        if (sd_bus_message_read_basic(m, type[0], &text) < 0) return std::nullopt;
        return Value(std::string(text));
    }
    if (type == "b") {
        int flag = 0;
        if (sd_bus_message_read_basic(m, 'b', &flag) < 0) return std::nullopt;
        return Value(flag != 0);
    }
    if (type == "u") {
        std::uint32_t number = 0;
        if (sd_bus_message_read_basic(m, 'u', &number) < 0) return std::nullopt;
        return Value(number);
    }
    if (type == "i") {
        std::int32_t number = 0;
        if (sd_bus_message_read_basic(m, 'i', &number) < 0) return std::nullopt;
        return Value(std::int64_t{number});
    }
    if (type == "t") {
        std::uint64_t number = 0;
        if (sd_bus_message_read_basic(m, 't', &number) < 0) return std::nullopt;
        return Value(number);
    }
    if (type == "x") {
        std::int64_t number = 0;
        if (sd_bus_message_read_basic(m, 'x', &number) < 0) return std::nullopt;
        return Value(number);
    }
    if (type == "d") {
        double number = 0;
        if (sd_bus_message_read_basic(m, 'd', &number) < 0) return std::nullopt;
        return Value(number);
    }
    if (type == "ay") return Value(read_name(m));
    if (type == "as" || type == "ao") {
        std::vector<std::string> texts;
        if (sd_bus_message_enter_container(m, 'a', type.substr(1).data()) < 0) return std::nullopt;
        const char* text = nullptr;
        while (sd_bus_message_read_basic(m, type[1], &text) > 0) texts.emplace_back(text);
        sd_bus_message_exit_container(m);
        return Value(std::move(texts));
    }
    if (type == "aay") {
        std::vector<FileName> names;
        if (sd_bus_message_enter_container(m, 'a', "ay") < 0) return std::nullopt;
        while (sd_bus_message_at_end(m, 0) == 0) names.push_back(read_name(m));
        sd_bus_message_exit_container(m);
        return Value(std::move(names));
    }
    sd_bus_message_skip(m, std::string(type).c_str());
    return std::nullopt;
}

// A property that is itself a{sv} (Details) comes back through `nested`.
bool read_entry(sd_bus_message* m, Dict& dict, std::map<std::string, Dict>* nested) {
    const char* key = nullptr;
    const char* contents = nullptr;
    char type = 0;
    if (sd_bus_message_read_basic(m, 's', &key) <= 0) return false;
    if (sd_bus_message_peek_type(m, &type, &contents) <= 0 || type != 'v') return false;
    std::string inside = contents;
    if (sd_bus_message_enter_container(m, 'v', inside.c_str()) < 0) return false;
    if (inside == "a{sv}") {
        Dict inner;
        if (!read_dict(m, inner)) return false;
        if (nested != nullptr) (*nested)[key] = std::move(inner);
    } else if (auto value = read_contents(m, inside)) {
        dict.set(key, std::move(*value));
    }
    return sd_bus_message_exit_container(m) >= 0;
}
}  // namespace

bool read_dict(sd_bus_message* m, Dict& dict, std::map<std::string, Dict>* nested) {
    if (sd_bus_message_enter_container(m, 'a', "{sv}") < 0) return false;
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
        if (!read_entry(m, dict, nested)) return false;
        if (sd_bus_message_exit_container(m) < 0) return false;
    }
    return sd_bus_message_exit_container(m) >= 0;
}
Error garbled() {
    return {ErrorKind::io,
            "an answer of backupd could not be read: it does not match the interface"};
}

Result<std::string> read_text(const Message& m) {
    const char* text = nullptr;
    char type = 0;
    if (sd_bus_message_peek_type(m.get(), &type, nullptr) <= 0 || (type != 's' && type != 'o') ||
        sd_bus_message_read_basic(m.get(), type, &text) <= 0)
        return garbled();
    return std::string(text);
}

Result<UniqueFd> read_fd(const Message& m) {
    int fd = -1;
    if (sd_bus_message_read_basic(m.get(), 'h', &fd) <= 0) return garbled();
    int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);  // the message closes its own
    if (copy < 0) return Error::from_errno(errno, "keep a descriptor");
    return UniqueFd(copy);
}

Result<Dict> read_whole_dict(const Message& m) {
    Dict dict;
    if (!read_dict(m.get(), dict)) return garbled();
    return dict;
}

Result<std::vector<Dict>> read_dicts(const Message& m) {
    std::vector<Dict> list;
    if (sd_bus_message_enter_container(m.get(), 'a', "a{sv}") < 0) return garbled();
    while (sd_bus_message_at_end(m.get(), 0) == 0) {
        Dict dict;
        if (!read_dict(m.get(), dict)) return garbled();
        list.push_back(std::move(dict));
    }
    sd_bus_message_exit_container(m.get());
    return list;
}

}  // namespace backup
