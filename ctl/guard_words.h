// What a guard asks about a set, in words and as JSON. Pure but for the clock of the context.
#pragma once

#include <string>
#include <vector>

#include "ctl/context.h"

namespace backup {

// "812 of 1000 files are gone (5 min ago): no revision is made meanwhile"
std::string question_sentence(const Dict& question, const Context& context);
// What an answer does.
std::string consequence(const Dict& question, bool approves);
// The question as it is shown in lists of sets.
JsonObject question_object(const Context& context, const Dict& question);
JsonObject guard_object(const Context& context, JsonObject object, const std::string& set,
                        const std::vector<Dict>& questions);

}  // namespace backup
