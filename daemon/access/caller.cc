#include "daemon/access/caller.h"

#include <algorithm>
#include <cerrno>

#include <grp.h>
#include <pwd.h>

namespace backup {

namespace {

constexpr std::size_t kMostEntryBytes = std::size_t{1} << 22;

// Calls one of the get..._r functions with as much room as it wants; nothing: no such entry.
template <typename Entry, typename Ask>
bool ask_database(Entry& entry, std::vector<char>& room, Ask ask) {
    room.resize(1024);
    for (;;) {
        Entry* found = nullptr;
        const int error = ask(&entry, room.data(), room.size(), &found);
        if (error == 0) return found != nullptr;
        if (error == EINTR) continue;
        if (error != ERANGE || room.size() >= kMostEntryBytes) return false;
        room.resize(room.size() * 4);
    }
}

bool find_user(std::uint32_t uid, passwd& entry, std::vector<char>& room) {
    return ask_database(entry, room, [uid](passwd* e, char* at, std::size_t size, passwd** found) {
        return ::getpwuid_r(uid, e, at, size, found);
    });
}

std::string group_name(std::uint32_t gid) {
    group entry{};
    std::vector<char> room;
    const bool is_known =
        ask_database(entry, room, [gid](group* e, char* at, std::size_t size, group** found) {
            return ::getgrgid_r(gid, e, at, size, found);
        });
    return is_known ? entry.gr_name : std::string();
}

}  // namespace

NamedCaller identify(const Caller& caller) {
    NamedCaller named;
    named.uid = caller.uid;
    passwd entry{};
    std::vector<char> room;
    if (find_user(caller.uid, entry, room)) named.user = entry.pw_name;
    for (const std::uint32_t gid : caller.gids) named.groups.emplace_back(gid, group_name(gid));
    return named;
}

Caller caller_of(std::uint32_t uid) {
    Caller caller{uid, {}, uid == 0};
    passwd entry{};
    std::vector<char> room;
    if (!find_user(uid, entry, room)) return caller;
    int count = 64;
    std::vector<gid_t> groups(static_cast<std::size_t>(count));
    while (::getgrouplist(entry.pw_name, entry.pw_gid, groups.data(), &count) < 0 &&
           count > static_cast<int>(groups.size()))
        groups.resize(static_cast<std::size_t>(count));
    caller.gids.assign(groups.begin(),
                       groups.begin() + std::min<std::ptrdiff_t>(count, std::ssize(groups)));
    return caller;
}

std::uint32_t primary_group(const Caller& caller) {
    passwd entry{};
    std::vector<char> room;
    if (find_user(caller.uid, entry, room) &&
        (caller.gids.empty() || std::ranges::find(caller.gids, entry.pw_gid) != caller.gids.end()))
        return entry.pw_gid;
    return caller.gids.empty() ? caller.uid : caller.gids.front();
}

}  // namespace backup
