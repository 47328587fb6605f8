#include "common/wire.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>

#include <systemd/sd-bus.h>

#include "backupd_config.h"

namespace backup::wire {

namespace {

constexpr std::string_view kErrorPart = ".Error.";
constexpr std::string_view kBusErrors = "org.freedesktop.DBus.Error.";

std::string encoded(std::string_view folder, std::string_view name) {
    std::string prefix = root_path() + "/" + std::string(folder);
    char* path = nullptr;
    if (sd_bus_path_encode(prefix.c_str(), std::string(name).c_str(), &path) < 0) return prefix;
    std::unique_ptr<char, decltype(&std::free)> owned(path, &std::free);
    return path;
}

std::optional<std::string> decoded(std::string_view folder, std::string_view path) {
    std::string prefix = root_path() + "/" + std::string(folder);
    char* name = nullptr;
    if (sd_bus_path_decode(std::string(path).c_str(), prefix.c_str(), &name) <= 0)
        return std::nullopt;
    std::unique_ptr<char, decltype(&std::free)> owned(name, &std::free);
    return std::string(name);
}

// Where the bus has a name of its own for what we mean, that one is used: every client library
// knows it.
constexpr std::pair<std::string_view, std::string_view> kStandardNames[] = {
    {"InvalidArguments", "InvalidArgs"},
    {"AccessDenied", "AccessDenied"},
    {"InteractiveAuthorizationRequired", "InteractiveAuthorizationRequired"},
    {"LimitsExceeded", "LimitsExceeded"},
    {"Failed", "Failed"},
};

Error malformed(int code, const char* what) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 std::string("malformed argument: ") + what + " (" + std::strerror(-code) + ")");
}

struct SignatureOf {
    const char* operator()(bool) const { return "b"; }
    const char* operator()(std::uint32_t) const { return "u"; }
    const char* operator()(std::uint64_t) const { return "t"; }
    const char* operator()(std::int64_t) const { return "x"; }
    const char* operator()(double) const { return "d"; }
    const char* operator()(const std::string&) const { return "s"; }
    const char* operator()(const ObjectPath&) const { return "o"; }
    const char* operator()(const FileName&) const { return "ay"; }
    const char* operator()(const std::vector<std::string>&) const { return "as"; }
    const char* operator()(const std::vector<ObjectPath>&) const { return "ao"; }
    const char* operator()(const std::vector<FileName>&) const { return "aay"; }
    const char* operator()(const Dict&) const { return "a{sv}"; }
    const char* operator()(const Counters&) const { return "a{st}"; }
};

// Text that is not UTF-8 gets the sender disconnected by the bus; it is shown escaped instead.
std::string safe_text(const std::string& text);

struct Appender {
    sd_bus_message* message;

    int operator()(bool value) const {
        return sd_bus_message_append(message, "b", static_cast<int>(value));
    }
    int operator()(std::uint32_t value) const { return sd_bus_message_append(message, "u", value); }
    int operator()(std::uint64_t value) const { return sd_bus_message_append(message, "t", value); }
    int operator()(std::int64_t value) const { return sd_bus_message_append(message, "x", value); }
    int operator()(double value) const { return sd_bus_message_append(message, "d", value); }
    int operator()(const std::string& value) const {
        return sd_bus_message_append(message, "s", safe_text(value).c_str());
    }
    int operator()(const ObjectPath& value) const {
        return sd_bus_message_append(message, "o", value.text.c_str());
    }
    int operator()(const FileName& value) const { return append_file_name(message, value.bytes); }
    template <typename T>
    int operator()(const std::vector<T>& values) const {
        const char* type = SignatureOf{}(T{});
        int r = sd_bus_message_open_container(message, 'a', type);
        for (const T& value : values)
            if (r >= 0) r = (*this)(value);
        return r < 0 ? r : sd_bus_message_close_container(message);
    }
    int operator()(const Dict& dict) const { return append_dict(message, dict); }
    int operator()(const Counters& counters) const {
        int r = sd_bus_message_open_container(message, 'a', "{st}");
        for (const auto& [word, count] : counters)
            if (r >= 0) r = sd_bus_message_append(message, "{st}", safe_text(word).c_str(), count);
        return r < 0 ? r : sd_bus_message_close_container(message);
    }
};

std::string safe_text(const std::string& text) {
    // Strict enough for the bus: well-formed sequences, no NUL.
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
        auto byte = static_cast<unsigned char>(text[i]);
        std::size_t length = byte < 0x80             ? 1
                             : (byte & 0xe0) == 0xc0 ? 2
                             : (byte & 0xf0) == 0xe0 ? 3
                             : (byte & 0xf8) == 0xf0 ? 4
                                                     : 0;
        bool good = length != 0 && byte != 0 && byte != 0xc0 && byte != 0xc1 && byte <= 0xf4 &&
                    i + length <= text.size();
        for (std::size_t k = 1; good && k < length; ++k)
            good = (static_cast<unsigned char>(text[i + k]) & 0xc0) == 0x80;
        if (good && length >= 3) {
            auto second = static_cast<unsigned char>(text[i + 1]);
            if ((byte == 0xe0 && second < 0xa0) || (byte == 0xed && second >= 0xa0) ||
                (byte == 0xf0 && second < 0x90) || (byte == 0xf4 && second >= 0x90))
                good = false;
        }
        if (good) {
            out.append(text, i, length);
            i += length;
            continue;
        }
        constexpr char digits[] = "0123456789abcdef";
        out += "\\x";
        out += digits[byte >> 4];
        out += digits[byte & 15];
        ++i;
    }
    return out;
}

template <typename Wire, typename Held>
Result<Value> read_basic(sd_bus_message* message, char type) {
    Wire value{};
    int r = sd_bus_message_read_basic(message, type, &value);
    if (r < 0) return malformed(r, "value");
    return Value(static_cast<Held>(value));
}

Result<Value> read_array(sd_bus_message* message, std::string_view contents) {
    if (contents == "s") return Value(TRY(read_strings(message)));
    if (contents == "y") return Value(FileName{TRY(read_file_name(message))});
    if (contents == "{sv}") return Value(TRY(read_dict(message)));
    if (contents == "{st}") {
        Counters counters;
        const char* word = nullptr;
        std::uint64_t count = 0;
        int r = sd_bus_message_enter_container(message, 'a', "{st}");
        while (r >= 0 && (r = sd_bus_message_read(message, "{st}", &word, &count)) > 0)
            counters[word] = count;
        if (r >= 0) r = sd_bus_message_exit_container(message);
        if (r < 0) return malformed(r, "counters");
        return Value(std::move(counters));
    }
    if (contents == "ay") {
        auto names = TRY(read_file_names(message));
        std::vector<FileName> list;
        for (auto& name : names) list.push_back({std::move(name)});
        return Value(std::move(list));
    }
    if (contents == "o") {
        std::vector<ObjectPath> list;
        int r = sd_bus_message_enter_container(message, 'a', "o");
        const char* text = nullptr;
        while (r >= 0 && (r = sd_bus_message_read_basic(message, 'o', &text)) > 0)
            list.push_back({text});
        if (r >= 0) r = sd_bus_message_exit_container(message);
        if (r < 0) return malformed(r, "object paths");
        return Value(std::move(list));
    }
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "a value of type a" + std::string(contents) + " is not known here");
}

Result<Value> read_value(sd_bus_message* message) {
    char type = 0;
    const char* contents = nullptr;
    int r = sd_bus_message_peek_type(message, &type, &contents);
    if (r < 0) return malformed(r, "value");
    switch (type) {
        case 'b':
            return read_basic<int, bool>(message, type);
        case 'y':
            return read_basic<std::uint8_t, std::uint32_t>(message, type);
        case 'q':
            return read_basic<std::uint16_t, std::uint32_t>(message, type);
        case 'u':
            return read_basic<std::uint32_t, std::uint32_t>(message, type);
        case 'n':
            return read_basic<std::int16_t, std::int64_t>(message, type);
        case 'i':
            return read_basic<std::int32_t, std::int64_t>(message, type);
        case 'x':
            return read_basic<std::int64_t, std::int64_t>(message, type);
        case 't':
            return read_basic<std::uint64_t, std::uint64_t>(message, type);
        case 'd':
            return read_basic<double, double>(message, type);
        case 's':
            return Value(TRY(read_string(message)));
        case 'o': {
            const char* text = nullptr;
            r = sd_bus_message_read_basic(message, 'o', &text);
            if (r < 0) return malformed(r, "object path");
            return Value(ObjectPath{text});
        }
        case 'a':
            return read_array(message, contents);
    }
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 std::string("a value of type ") + type + " is not known here");
}

}  // namespace

std::string_view bus_name() {
    return BACKUPD_BUS_NAME;
}
std::string interface_name(std::string_view part) {
    return std::string(bus_name()) + "." + std::string(part);
}
const std::string& root_path() {
    static const std::string path = [] {
        std::string text = "/" + std::string(bus_name());
        std::ranges::replace(text, '.', '/');
        return text;
    }();
    return path;
}
std::string set_path(std::string_view id) {
    return encoded("set", id);
}
std::string repository_path(std::string_view name) {
    return encoded("repository", name);
}
std::string job_path(std::uint64_t id) {
    return root_path() + "/job/" + std::to_string(id);
}
std::string restore_path() {
    return root_path() + "/restore";
}

std::optional<std::string> set_from_path(std::string_view path) {
    return decoded("set", path);
}
std::optional<std::string> repository_from_path(std::string_view path) {
    return decoded("repository", path);
}
std::optional<std::uint64_t> job_from_path(std::string_view path) {
    std::string prefix = root_path() + "/job/";
    if (!path.starts_with(prefix)) return std::nullopt;
    path.remove_prefix(prefix.size());
    std::uint64_t id = 0;
    auto [end, code] = std::from_chars(path.data(), path.data() + path.size(), id);
    if (code != std::errc{} || end != path.data() + path.size()) return std::nullopt;
    return id;
}

std::string short_error_name(const Error& error) {
    if (error.code() != ErrorCode::none) return std::string(to_string(error.code()));
    switch (error.kind()) {
        case ErrorKind::not_found:
            return "NoSuchPath";
        case ErrorKind::transient:
            return "RepositoryUnavailable";
        case ErrorKind::denied:
            return "AccessDenied";
        case ErrorKind::invalid:
            return "InvalidArguments";
        case ErrorKind::corrupt:
            return "RepositoryDamaged";
        case ErrorKind::conflict:
            return "Conflict";
        case ErrorKind::no_space:
            return "NoSpace";
        case ErrorKind::cancelled:
            return "Cancelled";
        case ErrorKind::io:
            return "Failed";
    }
    return "Failed";
}

std::string full_error_name(std::string_view short_name) {
    if (short_name.empty()) return {};
    for (const auto& [ours, theirs] : kStandardNames)
        if (ours == short_name) return std::string(kBusErrors) + std::string(theirs);
    return std::string(bus_name()) + std::string(kErrorPart) + std::string(short_name);
}

std::string error_name(const Error& error) {
    return full_error_name(short_error_name(error));
}

Error error_from_name(std::string_view name, std::string message) {
    std::string own = std::string(bus_name()) + std::string(kErrorPart);
    ErrorCode code = ErrorCode::none;
    if (name.starts_with(own)) code = error_code_from_string(name.substr(own.size()));
    for (const auto& [ours, theirs] : kStandardNames)
        if (name.starts_with(kBusErrors) && name.substr(kBusErrors.size()) == theirs)
            code = error_code_from_string(ours);
    return Error(ErrorKind::io, code, std::move(message));
}

Value::Value(Variant value) : held(std::move(value)) {}
Value::Value(const char* text) : held(std::string(text)) {}
Value::Value(std::string_view text) : held(std::string(text)) {}
Value::Value(const Value& other) = default;
Value::Value(Value&& other) noexcept = default;
Value& Value::operator=(const Value& other) = default;
Value& Value::operator=(Value&& other) noexcept = default;
Value::~Value() = default;

bool Value::operator==(const Value& other) const {
    return held == other.held;
}
const char* Value::signature() const {
    return std::visit(SignatureOf{}, held);
}

const Value* DictReader::take(std::string_view key) {
    for (const DictEntry& entry : dict_) {
        if (entry.key != key) continue;
        taken_.push_back(entry.key);
        return &entry.value;
    }
    return nullptr;
}

void DictReader::wrong_type(std::string_view key, const char* wanted, const Value& value) {
    if (problem_.empty())
        problem_ = std::string(key) + ": expected a value of type " + wanted + ", got " +
                   value.signature();
}

std::optional<bool> DictReader::boolean(std::string_view key) {
    const Value* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (const bool* held = std::get_if<bool>(&value->held)) return *held;
    wrong_type(key, "b", *value);
    return std::nullopt;
}

std::optional<std::uint64_t> DictReader::number(std::string_view key) {
    const Value* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (const auto* held = std::get_if<std::uint64_t>(&value->held)) return *held;
    if (const auto* held = std::get_if<std::uint32_t>(&value->held)) return *held;
    if (const auto* held = std::get_if<std::int64_t>(&value->held); held != nullptr && *held >= 0)
        return static_cast<std::uint64_t>(*held);
    wrong_type(key, "t", *value);
    return std::nullopt;
}

std::optional<double> DictReader::real(std::string_view key) {
    const Value* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (const auto* held = std::get_if<double>(&value->held)) return *held;
    if (const auto* held = std::get_if<std::uint32_t>(&value->held)) return *held;
    if (const auto* held = std::get_if<std::int64_t>(&value->held))
        return static_cast<double>(*held);
    if (const auto* held = std::get_if<std::uint64_t>(&value->held))
        return static_cast<double>(*held);
    wrong_type(key, "d", *value);
    return std::nullopt;
}

std::optional<std::string> DictReader::text(std::string_view key) {
    const Value* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (const auto* held = std::get_if<std::string>(&value->held)) return *held;
    wrong_type(key, "s", *value);
    return std::nullopt;
}

std::optional<std::string> DictReader::file_name(std::string_view key) {
    const Value* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (const auto* held = std::get_if<FileName>(&value->held)) return held->bytes;
    wrong_type(key, "ay", *value);
    return std::nullopt;
}

std::optional<std::vector<std::string>> DictReader::texts(std::string_view key) {
    const Value* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (const auto* held = std::get_if<std::vector<std::string>>(&value->held)) return *held;
    wrong_type(key, "as", *value);
    return std::nullopt;
}

std::optional<std::vector<std::string>> DictReader::file_names(std::string_view key) {
    const Value* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (const auto* held = std::get_if<std::vector<FileName>>(&value->held)) {
        std::vector<std::string> names;
        for (const FileName& name : *held) names.push_back(name.bytes);
        return names;
    }
    wrong_type(key, "aay", *value);
    return std::nullopt;
}

Result<> DictReader::finish() const {
    if (!problem_.empty()) return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, problem_);
    for (const DictEntry& entry : dict_)
        if (std::ranges::find(taken_, entry.key) == taken_.end())
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         "unknown key '" + safe_text(entry.key) + "'");
    return {};
}

int append_value(sd_bus_message* message, const Value& value) {
    return std::visit(Appender{message}, value.held);
}

int append_dict(sd_bus_message* message, const Dict& dict) {
    int r = sd_bus_message_open_container(message, 'a', "{sv}");
    for (const DictEntry& entry : dict) {
        if (r >= 0) r = sd_bus_message_open_container(message, 'e', "sv");
        if (r >= 0) r = sd_bus_message_append(message, "s", entry.key.c_str());
        if (r >= 0) r = sd_bus_message_open_container(message, 'v', entry.value.signature());
        if (r >= 0) r = append_value(message, entry.value);
        if (r >= 0) r = sd_bus_message_close_container(message);
        if (r >= 0) r = sd_bus_message_close_container(message);
    }
    return r < 0 ? r : sd_bus_message_close_container(message);
}

int append_file_name(sd_bus_message* message, std::string_view bytes) {
    std::string with_end(bytes);
    return sd_bus_message_append_array(message, 'y', with_end.c_str(), with_end.size() + 1);
}

Result<Dict> read_dict(sd_bus_message* message) {
    Dict dict;
    int r = sd_bus_message_enter_container(message, 'a', "{sv}");
    while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
        std::string key = TRY(read_string(message));
        char type = 0;
        const char* contents = nullptr;
        r = sd_bus_message_peek_type(message, &type, &contents);
        if (r >= 0) r = sd_bus_message_enter_container(message, 'v', contents);
        if (r < 0) break;
        Value value = TRY_DURING(read_value(message), key);
        dict.push_back({std::move(key), std::move(value)});
        r = sd_bus_message_exit_container(message);
        if (r >= 0) r = sd_bus_message_exit_container(message);
    }
    if (r >= 0) r = sd_bus_message_exit_container(message);
    if (r < 0) return malformed(r, "dictionary");
    return dict;
}

Result<std::string> read_string(sd_bus_message* message) {
    const char* text = nullptr;
    int r = sd_bus_message_read_basic(message, 's', &text);
    if (r < 0 || text == nullptr) return malformed(r, "text");
    return std::string(text);
}

Result<std::uint64_t> read_u64(sd_bus_message* message) {
    std::uint64_t value = 0;
    int r = sd_bus_message_read_basic(message, 't', &value);
    if (r < 0) return malformed(r, "number");
    return value;
}

Result<std::string> read_file_name(sd_bus_message* message) {
    const void* data = nullptr;
    std::size_t size = 0;
    int r = sd_bus_message_read_array(message, 'y', &data, &size);
    if (r < 0) return malformed(r, "file name");
    std::string name;
    if (size > 0) name.assign(static_cast<const char*>(data), size);
    if (!name.empty() && name.back() == '\0') name.pop_back();
    if (name.find('\0') != std::string::npos)
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "a file name contains a NUL byte");
    return name;
}

Result<std::vector<std::string>> read_file_names(sd_bus_message* message) {
    std::vector<std::string> names;
    int r = sd_bus_message_enter_container(message, 'a', "ay");
    while (r >= 0 && (r = sd_bus_message_at_end(message, 0)) == 0)
        names.push_back(TRY(read_file_name(message)));
    if (r >= 0) r = sd_bus_message_exit_container(message);
    if (r < 0) return malformed(r, "file names");
    return names;
}

Result<std::vector<std::string>> read_strings(sd_bus_message* message) {
    std::vector<std::string> list;
    int r = sd_bus_message_enter_container(message, 'a', "s");
    const char* text = nullptr;
    while (r >= 0 && (r = sd_bus_message_read_basic(message, 's', &text)) > 0)
        list.emplace_back(text);
    if (r >= 0) r = sd_bus_message_exit_container(message);
    if (r < 0) return malformed(r, "texts");
    return list;
}

}  // namespace backup::wire
