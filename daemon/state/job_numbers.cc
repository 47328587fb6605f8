#include "daemon/state/job_numbers.h"

#include <algorithm>
#include <charconv>

#include "common/log.h"
#include "daemon/state/small_file.h"

namespace backup::state {

namespace {

constexpr std::uint64_t kClaimedAtOnce = 16;

}  // namespace

JobNumbers::~JobNumbers() {
    if (last_ >= claimed_) return;
    if (auto given_back = write_small_file(file_, std::to_string(last_) + "\n"); !given_back.ok())
        log_warning("some job numbers will be left out: " + given_back.error().message());
}

Result<> JobNumbers::load(std::uint64_t highest_known) {
    std::uint64_t claimed = 0;
    auto text = TRY(read_small_file(file_));
    if (text) {
        const char* end = text->data() + text->size();
        auto [rest, problem] = std::from_chars(text->data(), end, claimed);
        if (problem != std::errc{} || (rest != end && *rest != '\n')) {
            log_warning("the file " + file_ + " is damaged and will be written anew");
            claimed = 0;
        }
    }
    claimed_ = claimed;
    last_ = std::max(highest_known, claimed);
    return {};
}

Result<std::uint64_t> JobNumbers::next() {
    std::uint64_t number = last_ + 1;
    if (number > claimed_) {
        const std::uint64_t last_claimed = number + kClaimedAtOnce - 1;
        TRY(write_small_file(file_, std::to_string(last_claimed) + "\n"));
        claimed_ = last_claimed;
    }
    return number;
}

}  // namespace backup::state
