// The oracle: whatever happens, and whenever, after a quiet run the tree that the marks led to is
// the tree that looking at everything gives, byte for byte.
#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <random>

#include "tests/unit/tracking/tracked_source.h"

namespace backup {

namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

// Lines that are only in the one or the other.
std::string difference(const std::string& marked, const std::string& scanned) {
    auto lines = [](const std::string& text) {
        std::vector<std::string> all;
        for (std::size_t begin = 0; begin < text.size();) {
            std::size_t end = text.find('\n', begin);
            all.push_back(text.substr(begin, end - begin));
            begin = end + 1;
        }
        return all;
    };
    std::string out;
    auto a = lines(marked), b = lines(scanned);
    for (const std::string& line : a)
        if (std::ranges::find(b, line) == b.end()) out += "- " + line + "\n";
    for (const std::string& line : b)
        if (std::ranges::find(a, line) == a.end()) out += "+ " + line + "\n";
    return out;
}

// A whole life of a set: rounds of steps, and runs that are disturbed by steps.
class Oracle {
  public:
    explicit Oracle(std::uint64_t seed) : random_(seed), seed_(seed) {
        switch (seed % 4) {
            case 0:
                break;
            case 1:
                set_.set.exclude.patterns = {"*.o"};
                break;
            case 2:
                set_.set.exclude.patterns = {set_.source.inside() + "/*/c", "!b"};
                break;
            case 3:
                set_.set.exclude.patterns = {set_.source.inside() + "/a/b/", "**/d/e"};
                break;
        }
        set_.source.hide_outside = seed % 2 == 0;
        if (seed % 5 == 0) set_.queue = ChangeQueue({.names_of_directory = 3, .marks = 40});
    }

    // False: a difference, and the test has failed.
    bool round() {
        set_.source.log.clear();
        set_.source.hide_moved_objects = random_() % 11 == 0;
        set_.source.hide_old_places = random_() % 3 == 0;
        for (std::uint64_t left = random_() % 12; left > 0; --left) step();
        if (random_() % 2 == 0) disturbed_run();
        for (std::uint64_t left = random_() % 4; left > 0; --left) step();
        return compare();
    }

  private:
    void step() {
        set_.source.random_step(random_);
        if (random_() % 4 == 0) set_.absorb();
        if (random_() % 16 == 0) set_.restart_queue();
    }

    void disturbed_run() {
        std::mutex mutex;
        std::uint64_t often = 2 + random_() % 12;
        set_.fs.before = [&] {
            std::lock_guard lock(mutex);
            if (random_() % (often * 4) == 0) set_.source.random_step(random_);
        };
        set_.run([&] {
            std::lock_guard lock(mutex);
            while (random_() % often == 0) set_.source.random_step(random_);
            if (random_() % 3 == 0) set_.absorb();
        });
        set_.fs.before = nullptr;
        set_.source.log.push_back("-- end of a disturbed run");
    }

    bool compare() {
        auto marked = set_.run();
        auto scanned = set_.scan();
        if (!marked || !scanned) {
            ADD_FAILURE() << "a run failed, seed " << seed_;
            return false;
        }
        EXPECT_TRUE(set_.queue.empty()) << "marks are left after a quiet run, seed " << seed_;
        std::string one = set_.describe(*marked), other = set_.describe(*scanned);
        if (set_.tree_of_set(*marked) == set_.tree_of_set(*scanned) && one == other) return true;
        std::string steps;
        for (const std::string& line : set_.source.log) steps += printable(line) + "\n";
        std::string looked;
        for (const auto& item : set_.look->items())
            looked += std::string(item.kind) + " " + printable(item.path) + "\n";
        ADD_FAILURE() << "seed " << seed_ << "\n"
                      << steps << "looked at\n"
                      << looked << difference(one, other);
        return false;
    }

    TrackedSource set_;
    std::mt19937_64 random_;
    std::uint64_t seed_;
};

}  // namespace

TEST(LookAtOracle, WhatTheMarksLeadToIsWhatLookingAtEverythingFinds) {
    std::uint64_t first = number_from("BACKUPD_ORACLE_SEED", 1);
    std::uint64_t lives = number_from("BACKUPD_ORACLE_LIVES", 12);
    std::uint64_t rounds = number_from("BACKUPD_ORACLE_ROUNDS", 25);
    for (std::uint64_t seed = first; seed < first + lives; ++seed) {
        Oracle oracle(seed);
        for (std::uint64_t round = 0; round < rounds; ++round) {
            SCOPED_TRACE("life " + std::to_string(seed) + ", round " + std::to_string(round));
            if (!oracle.round()) return;
        }
    }
}

}  // namespace backup
