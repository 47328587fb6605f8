// Which times of revisions can be right. A clock that was wrong for a while leaves times that are
// out of the order in which the revisions were made. Pure.
#pragma once

#include <vector>

#include "common/clock.h"

namespace backup {

// Of times in the order in which things were made: the largest part that is in order, too. Of two
// that are as large the later one. What is left over cannot be right.
std::vector<bool> credible_times(const std::vector<Timestamp>& as_made);

}  // namespace backup
