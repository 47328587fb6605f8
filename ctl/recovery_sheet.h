// The recovery sheet: what a person needs on paper to get everything back without this machine.
// Pure.
#pragma once

#include <string>
#include <vector>

namespace backup {

struct RecoverySheet {
    std::string name, url, repository_id, host, date;
    std::string password;
};
// restic's commands to look, check and restore.
std::vector<std::string> recovery_commands(const std::string& url);
std::string recovery_text(const RecoverySheet& sheet);
// For a URL that names a local folder outside of where the system service may write: the drop-in it
// needs. "" when none is.
std::string write_permission_hint(const std::string& url);
// True for "/path" and "local:/path"; the path comes out.
bool is_local_url(const std::string& url, std::string& path);

}  // namespace backup
