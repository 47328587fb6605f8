#include "daemon/jobs/configuration.h"

#include <unistd.h>

#include "daemon/policy/matcher.h"
#include "daemon/runtime/durable_file.h"

namespace backup {

namespace {

Error refused(std::string message) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, std::move(message));
}

Result<> check_name(std::string_view what, const std::string& name) {
    if (is_valid_name(name)) return {};
    return refused(std::string(what) + " '" + printable(name) +
                   "': a name begins with a letter or digit, goes on with letters, digits, '.', "
                   "'_' and '-', and has at most 64");
}

Result<> must_be_own_file(const std::string& file, std::string_view what, const std::string& name,
                          const std::string& origin) {
    if (::access(file.c_str(), F_OK) == 0) return {};
    return Error(ErrorKind::conflict, ErrorCode::unsupported,
                 std::string(what) + " '" + name + "' is defined in " + origin +
                     ", which is edited by hand");
}

}  // namespace

Error problems_as_error(const std::vector<ConfigProblem>& problems) {
    std::string text;
    for (const ConfigProblem& problem : problems) {
        if (!text.empty()) text += '\n';
        text += problem.text();
    }
    return refused(std::move(text));
}

std::uint64_t generation_of(const BackupSet& set) {
    // FNV-1a over the text of the file it would be.
    std::uint64_t hash = 0xcbf29ce484222325;
    for (unsigned char byte : format_set_config(set)) hash = (hash ^ byte) * 0x100000001b3;
    return hash == 0 ? 1 : hash;
}

LoadedPolicy Configuration::load() const {
    return load_policy(config_dir_, vendor_dir_);
}

std::string Configuration::set_file(const std::string& id) const {
    return config_dir_ + "/sets.d/" + id + ".toml";
}
std::string Configuration::repository_file(const std::string& name) const {
    return config_dir_ + "/repositories.d/" + name + ".toml";
}

Result<> Configuration::check_set(const BackupSet& set) const {
    TRY(effective(set));
    return {};
}

Result<BackupSet> Configuration::effective(const BackupSet& set) const {
    TRY(check_name("set", set.id));
    if (set.paths.empty()) return refused("the set has no paths");
    TRY(Matcher::compile(set.exclude.patterns));
    LoadedPolicy loaded = load();
    if (!loaded.problems.empty()) return problems_as_error(loaded.problems);
    if (!loaded.policy.repositories.contains(set.repository))
        return Error(
            ErrorKind::not_found, ErrorCode::no_such_repository,
            "there is no repository '" + printable(set.repository) + "' in the configuration");
    // What will be written must read back without complaint.
    loaded.policy.sets.erase(set.id);
    parse_set_config(format_set_config(set), set_file(set.id), set.id, loaded);
    check_policy(loaded);
    if (!loaded.problems.empty()) return problems_as_error(loaded.problems);
    return std::move(loaded.policy.sets.at(set.id));
}

Result<> Configuration::write_set(const BackupSet& set) const {
    TRY(check_set(set));
    return write_file_durably(set_file(set.id), format_set_config(set), 0600);
}

Result<> Configuration::write_new_set(const BackupSet& set) const {
    TRY(check_set(set));
    if (::access(set_file(set.id).c_str(), F_OK) == 0)
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     set_file(set.id) + " exists already");
    return write_set(set);
}

Result<> Configuration::check_repository(const RepositoryPolicy& repository) const {
    TRY(check_name("repository", repository.name));
    if (repository.url.empty()) return refused("the repository has no url");
    LoadedPolicy loaded = load();
    if (!loaded.problems.empty()) return problems_as_error(loaded.problems);
    if (loaded.policy.repositories.contains(repository.name))
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "a repository '" + repository.name + "' is configured already");
    parse_repository_config(format_repository_config(repository), repository_file(repository.name),
                            repository.name, loaded);
    check_policy(loaded);
    if (!loaded.problems.empty()) return problems_as_error(loaded.problems);
    return {};
}

Result<> Configuration::write_repository(const RepositoryPolicy& repository) const {
    return write_file_durably(repository_file(repository.name),
                              format_repository_config(repository), 0600);
}

Result<> Configuration::remove_set(const BackupSet& set) const {
    TRY(must_be_own_file(set_file(set.id), "set", set.id, set.origin));
    return remove_file_durably(set_file(set.id));
}

Result<> Configuration::remove_repository(const RepositoryPolicy& repository) const {
    TRY(must_be_own_file(repository_file(repository.name), "repository", repository.name,
                         repository.origin));
    TRY(remove_file_durably(repository_file(repository.name)));
    return forget_secret(repository.name);
}

Result<> Configuration::forget_secret(const std::string& name) const {
    return remove_file_durably(config_dir_ + "/secrets/" + name);
}

}  // namespace backup
