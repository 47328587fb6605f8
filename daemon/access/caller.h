// Who asks for stored data: what the bus says of a connection, and the names behind the numbers.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace backup {

// As the bus vouches for it; a value. Never made of what the caller says himself.
struct Caller {
    std::uint32_t uid = 0;
    std::vector<std::uint32_t> gids;  // primary and supplementary, in any order
    // Rule R does not bind him: root, the owner of a user instance, whoever was granted browse-all.
    bool sees_all = false;
};

// A caller with names: a number alone may have been somebody else's when the revision was made.
struct NamedCaller {
    std::uint32_t uid = 0;
    std::string user;  // empty: the number has no name
    std::vector<std::pair<std::uint32_t, std::string>> groups;
};

// Asks the machine's databases of users and groups, which may be far away: not for the loop thread.
NamedCaller identify(const Caller& caller);
// Somebody who is not here to be asked about: his groups are those of the databases.
Caller caller_of(std::uint32_t uid);
// The group that new files of his belong to: the one that the database of users names if the bus
// does too, else the first; without groups the uid's own number.
std::uint32_t primary_group(const Caller& caller);

}  // namespace backup
