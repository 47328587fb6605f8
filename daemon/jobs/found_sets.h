// found_sets() makes sets of what a repository holds, for a machine that has no set of its own: a
// new one, on the day after the old one was lost. They are switched off, so that nothing is backed
// up or forgotten by them, and everything in them can be listed, compared and restored. Pure.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "daemon/jobs/catalog.h"
#include "daemon/policy/policy.h"

namespace backup {

// One for each line (host, set) that has a revision which is not in the trash, with the paths of
// its newest one; the line with the newest revision first, which therefore gets the name of its set
// if two want it. `taken`: names that are given away. Snapshots that no backupd made are in none.
std::vector<BackupSet> found_sets(const std::vector<Revision>& newest_first,
                                  const std::string& repository, const std::string& own_host,
                                  std::set<std::string> taken);

}  // namespace backup
