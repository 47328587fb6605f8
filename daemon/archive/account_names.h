// AccountNames turns user and group ids into names through NSS (files, LDAP, systemd ...), each
// asked once. One object per run: a daemon that kept it for months would miss renamed accounts.
// Thread-safe. Names live as long as the object; an unknown id has the empty name.
#pragma once

#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include <sys/types.h>

namespace backup {

class AccountNames {
  public:
    std::string_view user(uid_t uid);
    std::string_view group(gid_t gid);

  private:
    std::shared_mutex mutex_;  // guards both maps; their strings never move
    std::unordered_map<uid_t, std::string> users_;
    std::unordered_map<gid_t, std::string> groups_;
};

}  // namespace backup
