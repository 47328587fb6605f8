// Wire: the words of the D-Bus interface in one place, for the daemon and its clients: names,
// object paths, error names, and values of type a{sv} read from and written to messages. Plain
// values but for the functions that take a message: those belong to the thread that owns the bus
// connection. Source: dbus/*.xml.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/result.h"

struct sd_bus_message;

namespace backup::wire {

// "org.backupd1", as the build was told.
std::string_view bus_name();
// "org.backupd1.Manager" for "Manager".
std::string interface_name(std::string_view part);
// "/org/backupd1"; sets, repositories and jobs below it, names escaped by sd_bus_path_encode.
const std::string& root_path();
std::string set_path(std::string_view id);
std::string repository_path(std::string_view name);
std::string job_path(std::uint64_t id);
std::string restore_path();
// The inverse: nothing when the path is none of that kind.
std::optional<std::string> set_from_path(std::string_view path);
std::optional<std::string> repository_from_path(std::string_view path);
std::optional<std::uint64_t> job_from_path(std::string_view path);

// The last part of an error's name: the code when there is one, else what its kind means to a
// caller.
std::string short_error_name(const Error& error);
// "NoSuchSet" -> "org.backupd1.Error.NoSuchSet"; "InvalidArguments", "AccessDenied",
// "LimitsExceeded" and "Failed" are the bus's own: "org.freedesktop.DBus.Error.InvalidArgs". Empty
// stays empty.
std::string full_error_name(std::string_view short_name);
std::string error_name(const Error& error);
// For clients: an Error with the code that the name stands for.
Error error_from_name(std::string_view name, std::string message);

struct ObjectPath {
    std::string text;
    auto operator<=>(const ObjectPath&) const = default;
};
// A file name: bytes rather than text; ay with one trailing NUL on the wire.
struct FileName {
    std::string bytes;
    auto operator<=>(const FileName&) const = default;
};

struct DictEntry;
using Dict = std::vector<DictEntry>;  // a{sv}, in order

using Counters = std::map<std::string, std::uint64_t>;  // a{st}

// A value of one of the types that the interface uses.
struct Value {
    using Variant = std::variant<bool, std::uint32_t, std::uint64_t, std::int64_t, double,
                                 std::string, ObjectPath, FileName, std::vector<std::string>,
                                 std::vector<ObjectPath>, std::vector<FileName>, Dict, Counters>;
    Variant held;

    // Out of line: an entry is complete only below, and clang wants to know it in each of them.
    Value(Variant value);  // NOLINT: implicit
    template <typename T>
    requires(std::is_constructible_v<Variant, T&&> &&
             !std::is_same_v<std::remove_cvref_t<T>, Value>) Value(T&& value)
        : held(std::forward<T>(value)) {}  // NOLINT: implicit
    Value(const char* text);               // NOLINT: implicit
    Value(std::string_view text);          // NOLINT: implicit
    Value(const Value& other);
    Value(Value&& other) noexcept;
    Value& operator=(const Value& other);
    Value& operator=(Value&& other) noexcept;
    ~Value();

    bool operator==(const Value& other) const;
    // "b", "u", "as", "a{sv}" ...
    const char* signature() const;
};

struct DictEntry {
    std::string key;
    Value value;
    bool operator==(const DictEntry& other) const = default;
};

// Takes the entries of a dictionary by name and type; finish() then complains about what nobody
// took, so that a misspelt option is never ignored. Integers of any width are taken where they fit.
class DictReader {
  public:
    explicit DictReader(Dict dict) : dict_(std::move(dict)) {}

    std::optional<bool> boolean(std::string_view key);
    std::optional<std::uint64_t> number(std::string_view key);
    std::optional<double> real(std::string_view key);
    std::optional<std::string> text(std::string_view key);
    std::optional<std::string> file_name(std::string_view key);
    std::optional<std::vector<std::string>> texts(std::string_view key);
    std::optional<std::vector<std::string>> file_names(std::string_view key);
    // `invalid`/invalid_arguments that names the first key of a wrong type or that nobody asked
    // for.
    Result<> finish() const;

  private:
    const Value* take(std::string_view key);
    void wrong_type(std::string_view key, const char* wanted, const Value& value);

    Dict dict_;
    std::vector<std::string> taken_;
    std::string problem_;
};

// sd_bus_message_append and friends return negative errno; so do these.
int append_value(sd_bus_message* message, const Value& value);  // the bare value
int append_dict(sd_bus_message* message, const Dict& dict);     // a{sv}
int append_file_name(sd_bus_message* message, std::string_view bytes);
// Read at the message's position. Values of types outside Value::Variant are `invalid`.
Result<Dict> read_dict(sd_bus_message* message);
Result<std::string> read_string(sd_bus_message* message);
Result<std::uint64_t> read_u64(sd_bus_message* message);
// ay: one trailing NUL is dropped; others are refused.
Result<std::string> read_file_name(sd_bus_message* message);
Result<std::vector<std::string>> read_file_names(sd_bus_message* message);
Result<std::vector<std::string>> read_strings(sd_bus_message* message);

}  // namespace backup::wire
