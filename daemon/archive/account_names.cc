#include "daemon/archive/account_names.h"

#include <cerrno>
#include <mutex>
#include <vector>

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

namespace backup {

namespace {

// Calls one of the _r functions with a buffer that grows while it is too small: a group of a
// directory service can have thousands of members.
template <typename Record, typename Id>
std::string ask(int (*call)(Id, Record*, char*, std::size_t, Record**), Id id,
                char* Record::*name) {
    std::vector<char> buffer(4096);
    for (;;) {
        Record record{};
        Record* found = nullptr;
        int error = call(id, &record, buffer.data(), buffer.size(), &found);
        if (error == ERANGE && buffer.size() < (std::size_t{64} << 20)) {
            buffer.resize(buffer.size() * 4);
            continue;
        }
        if (error == EINTR) continue;
        return error == 0 && found != nullptr ? std::string(record.*name) : std::string();
    }
}

template <typename Id, typename Ask>
std::string_view cached(std::shared_mutex& mutex, std::unordered_map<Id, std::string>& names, Id id,
                        Ask lookup) {
    {
        std::shared_lock lock(mutex);
        if (auto known = names.find(id); known != names.end()) return known->second;
    }
    std::string name = lookup();  // may ask the network: not under the lock
    std::lock_guard lock(mutex);
    return names.try_emplace(id, std::move(name)).first->second;
}

}  // namespace

std::string_view AccountNames::user(uid_t uid) {
    return cached(mutex_, users_, uid, [&] { return ask(&::getpwuid_r, uid, &passwd::pw_name); });
}

std::string_view AccountNames::group(gid_t gid) {
    return cached(mutex_, groups_, gid, [&] { return ask(&::getgrgid_r, gid, &group::gr_name); });
}

}  // namespace backup
