#include "ctl/recovery_sheet.h"

#include "common/path.h"

namespace backup {

namespace {
// As a shell reads it.
std::string quoted(const std::string& text) {
    constexpr const char* kPlain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:@%+=,";
    if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
    std::string result = "'";
    for (char c : text) {
        if (c == '\'')
            result += "'\\''";
        else
            result += c;
    }
    return result + "'";
}
}  // namespace

bool is_local_url(const std::string& url, std::string& path) {
    if (url.starts_with("/"))
        path = url;
    else if (url.starts_with("local:"))
        path = url.substr(6);
    else
        return false;
    return true;
}

std::vector<std::string> recovery_commands(const std::string& url) {
    std::string repository = quoted(url.starts_with("local:") ? url.substr(6) : url);
    return {"restic -r " + repository + " snapshots", "restic -r " + repository + " check",
            "restic -r " + repository + " restore latest --target /some/empty/directory"};
}

std::string recovery_text(const RecoverySheet& sheet) {
    std::string line(78, '-');
    std::string text = line + "\nRECOVERY SHEET for the backup repository '" +
                       printable(sheet.name) + "'\n" + "made on " + sheet.date + " on " +
                       printable(sheet.host) + "\n\n" + "  where        " + printable(sheet.url) +
                       "\n" + "  id           " + sheet.repository_id + "\n" + "  password     " +
                       sheet.password + "\n\n" +
                       "Without this password nobody, you included, can read the backups.\n"
                       "Print this sheet or write it down, and keep it apart from this machine.\n\n"
                       "To get everything back on any machine, with or without backupd:\n\n";
    for (const auto& command : recovery_commands(sheet.url)) text += "  " + command + "\n";
    return text + "\nTest the sheet, typing the password from paper:\n\n  backupctl repo test " +
           printable(sheet.name) + "\n" + line + "\n";
}

std::string write_permission_hint(const std::string& url) {
    constexpr const char* kDefault = "/var/lib/backupd";
    std::string local;
    if (!is_local_url(url, local)) return {};
    auto path = Path::parse(local);
    if (!path.ok() || path->is_inside(*Path::parse(kDefault))) return {};
    return "The system service may need leave to write there. Where its unit protects the file "
           "system, add a drop-in:\n"
           "  systemctl edit backupd      and put in:\n"
           "    [Service]\n"
           "    ReadWritePaths=" +
           printable(path->text()) +
           "\n"
           "  systemctl restart backupd";
}

}  // namespace backup
