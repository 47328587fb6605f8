#include "daemon/policy/config_file.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>

#include <unistd.h>

#include "daemon/policy/config_sections.h"
#include "daemon/policy/config_table.h"
#include "daemon/policy/timing.h"
#include "daemon/policy/toml_document.h"

namespace backup {

namespace {

namespace fs = std::filesystem;

// Sets take over the defaults, so those of all files come first: settings of every main file, then
// sets.
enum class Part { settings, sets };

void read_main(const TomlValue& root, const std::string& file, Part part, LoadedPolicy& into) {
    std::vector<ConfigProblem> ignored;
    ConfigTable table(root, file, "", part == Part::settings ? into.problems : ignored);
    table.tables("repository", [&](const TomlMember& member) {
        if (part == Part::settings) {
            read_repository(member.value, file, member.key,
                            "[repository." + printable(member.key) + "]", into);
        }
    });
    const auto section = [&](std::string_view key,
                             void (*read)(const TomlValue&, const std::string&, LoadedPolicy&)) {
        const TomlValue* found = table.table(key);
        if (found != nullptr && part == Part::settings) read(*found, file, into);
    };
    section("defaults", read_defaults);
    section("engine", read_engine);
    section("tracking", read_tracking);
    section("rates", read_rates);
    section("conditions", read_conditions);
    section("health", read_health);
    section("metrics", read_metrics);
    table.tables("set", [&](const TomlMember& member) {
        if (part == Part::sets) {
            read_set(member.value, file, member.key, "[set." + printable(member.key) + "]", into);
        }
    });
    table.finish();
}

bool read_toml(const std::string& text, const std::string& file, LoadedPolicy& into,
               TomlValue& root) {
    const auto problem = parse_toml(text, root);
    if (problem) into.problems.push_back({file, problem->line, problem->message});
    return !problem;
}

// Nothing for a file that is not there; a problem for one that cannot be read.
std::optional<std::string> read_file(const fs::path& path, LoadedPolicy& into) {
    std::error_code error;
    const auto status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) return std::nullopt;
    const auto fail = [&](const std::string& message) -> std::optional<std::string> {
        into.problems.push_back({path, 0, message});
        return std::nullopt;
    };
    if (error) return fail("cannot be read: " + error.message());
    if (status.type() != fs::file_type::regular) return fail("is not a regular file");
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    if (!file.is_open() || file.bad()) {
        return fail("cannot be read: " + std::generic_category().message(errno != 0 ? errno : EIO));
    }
    return text;
}

std::vector<fs::path> toml_files(const fs::path& folder, LoadedPolicy& into) {
    std::vector<fs::path> files;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error)) {
        const fs::path& path = entry->path();
        // Hidden files and what editors leave behind ("home.toml~") are not configuration.
        if (path.extension() == ".toml" && path.filename().native().front() != '.')
            files.push_back(path);
    }
    if (error && error != std::errc::no_such_file_or_directory) {
        into.problems.push_back({folder, 0, "cannot be read: " + error.message()});
    }
    std::sort(files.begin(), files.end());
    return files;
}

}  // namespace

std::string ConfigProblem::text() const {
    return line == 0 ? file + ": " + message : file + ":" + std::to_string(line) + ": " + message;
}

bool is_valid_name(std::string_view name) {
    const auto is_alnum = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    };
    return !name.empty() && name.size() <= 64 && is_alnum(name.front()) &&
           std::all_of(name.begin(), name.end(),
                       [&](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; });
}

void parse_main_config(const std::string& text, const std::string& file, LoadedPolicy& into) {
    TomlValue root;
    if (!read_toml(text, file, into, root)) return;
    read_main(root, file, Part::settings, into);
    read_main(root, file, Part::sets, into);
}

void parse_set_config(const std::string& text, const std::string& file, const std::string& name,
                      LoadedPolicy& into) {
    TomlValue root;
    if (read_toml(text, file, into, root)) read_set(root, file, name, "", into);
}

void parse_repository_config(const std::string& text, const std::string& file,
                             const std::string& name, LoadedPolicy& into) {
    TomlValue root;
    if (read_toml(text, file, into, root)) read_repository(root, file, name, "", into);
}

void parse_preset(const std::string& text, const std::string& file, const std::string& name,
                  LoadedPolicy& into) {
    TomlValue root;
    if (read_toml(text, file, into, root)) read_preset(root, file, name, into);
}

void check_policy(LoadedPolicy& loaded) {
    std::vector<std::string> names;
    for (const auto& [name, repository] : loaded.policy.repositories) names.push_back(name);
    for (const auto& [id, set] : loaded.policy.sets) {
        if (set.repository.empty() || loaded.policy.repositories.count(set.repository) != 0)
            continue;
        std::string message =
            "set \"" + id + "\": there is no repository \"" + printable(set.repository) + "\"";
        const std::string nearest = nearest_word(set.repository, names);
        if (!nearest.empty()) {
            message += "; did you mean \"" + nearest + "\"?";
        } else if (names.empty()) {
            message += "; none is configured";
        } else {
            message += "; configured are ";
            for (std::size_t i = 0; i < names.size(); ++i)
                message += (i == 0 ? "" : ", ") + names[i];
        }
        const auto& [file, line] = loaded.repository_lines[id];
        loaded.problems.push_back({file, line, std::move(message)});
    }
}

LoadedPolicy load_policy(const std::string& config_dir, const std::string& vendor_dir) {
    LoadedPolicy loaded;
    std::vector<fs::path> folders;
    const auto add_folder = [&](const std::string& folder) {
        if (!folder.empty() &&
            std::find(folders.begin(), folders.end(), fs::path(folder)) == folders.end()) {
            folders.emplace_back(folder);
        }
    };
    for (std::size_t begin = 0; begin <= vendor_dir.size();) {
        const std::size_t end = std::min(vendor_dir.find(':', begin), vendor_dir.size());
        const std::string vendor = vendor_dir.substr(begin, end - begin);
        // The administrator's folder for all users may lie in one that is closed to them.
        if (::access(vendor.c_str(), F_OK) == 0 || errno != EACCES) add_folder(vendor);
        begin = end + 1;
    }
    add_folder(config_dir);
    std::vector<std::pair<std::string, TomlValue>> mains;
    for (const fs::path& folder : folders) {
        const fs::path path = folder / "backupd.toml";
        const auto text = read_file(path, loaded);
        TomlValue root;
        if (text && read_toml(*text, path, loaded, root)) mains.emplace_back(path, std::move(root));
    }
    for (const auto& [file, root] : mains) read_main(root, file, Part::settings, loaded);
    for (const fs::path& folder : folders) {
        for (const fs::path& path : toml_files(folder / "repositories.d", loaded)) {
            if (const auto text = read_file(path, loaded)) {
                parse_repository_config(*text, path, path.stem(), loaded);
            }
        }
    }
    for (const fs::path& folder : folders) {
        for (const fs::path& path : toml_files(folder / "presets.d", loaded)) {
            if (const auto text = read_file(path, loaded))
                parse_preset(*text, path, path.stem(), loaded);
        }
    }
    for (const fs::path& folder : folders) {
        for (const auto& [file, root] : mains) {
            if (fs::path(file).parent_path() == folder) read_main(root, file, Part::sets, loaded);
        }
        for (const fs::path& path : toml_files(folder / "sets.d", loaded)) {
            if (const auto text = read_file(path, loaded))
                parse_set_config(*text, path, path.stem(), loaded);
        }
    }
    check_policy(loaded);
    return loaded;
}

}  // namespace backup
