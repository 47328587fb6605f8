// Finds the word that was probably meant. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace backup {

// The candidate with the fewest insertions, deletions, exchanges and swaps of neighbours; "" when
// none is near (more than a third of the word, at least one, differs) and none begins with the
// word.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace backup
