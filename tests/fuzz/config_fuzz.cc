// Configuration: no text crashes, and what is accepted reads back as the same values.
#include <cstdio>
#include <cstdlib>

#include "common/bytes.h"
#include "daemon/policy/config_file.h"

using namespace backup;

namespace {
void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", what);
    std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(as_text({data, size}));
    LoadedPolicy set, repository, main;
    parse_set_config(text, "/c/sets.d/name.toml", "name", set);
    parse_repository_config(text, "/c/repositories.d/name.toml", "name", repository);
    parse_main_config(text, "/c/backupd.toml", main);
    for (LoadedPolicy* loaded : {&set, &repository, &main}) {
        check_policy(*loaded);
        for (const auto& problem : loaded->problems)
            require(!problem.text().empty(), "a problem has a text");
        if (!loaded->problems.empty()) continue;
        const std::string formatted = format_policy(loaded->policy);
        LoadedPolicy again;
        parse_main_config(formatted, "/c/backupd.toml", again);
        check_policy(again);
        require(again.problems.empty(), "formatted text is accepted");
        // Origins differ; everything else is in the text.
        for (auto& [id, one] : again.policy.sets) one.origin = loaded->policy.sets.at(id).origin;
        for (auto& [id, one] : again.policy.repositories)
            one.origin = loaded->policy.repositories.at(id).origin;
        require(format_policy(again.policy) == formatted, "and means the same");
    }
    return 0;
}
