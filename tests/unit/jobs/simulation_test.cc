#include "daemon/jobs/simulation.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/support/temp_directory.h"

namespace backup {
namespace {

class SimulationTest : public testing::Test {
  protected:
    SimulationTest() {
        task_.set.id = "home";
        task_.set.origin = "sets.d/home.toml:1";
        add_path("source");
    }
    void add_path(const std::string& name) {
        std::filesystem::create_directories(at(name));
        task_.set.paths.push_back(*Path::parse(at(name)));
    }
    void put(const std::string& name, std::size_t size) {
        std::filesystem::create_directories(std::filesystem::path(at(name)).parent_path());
        std::ofstream(at(name)) << std::string(size, 'x');
    }
    std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
    Simulation run() {
        auto found = simulate(task_, {});
        EXPECT_TRUE(found.ok()) << (found.ok() ? "" : found.error().message());
        return found.ok() ? std::move(*found) : Simulation{};
    }
    const Simulation::OfRule* rule(const Simulation& found, const std::string& name) {
        auto it = std::ranges::find_if(found.rules, [&](const Simulation::OfRule& one) {
            return one.rule == name || one.pattern == name;
        });
        return it == found.rules.end() ? nullptr : &*it;
    }
    TempDirectory folder_;
    SimulationTask task_;
};

TEST_F(SimulationTest, EachPathAndEachRuleHasItsSize) {
    add_path("source/inner");
    add_path("else");
    put("source/a", 100);
    put("source/inner/b", 20);
    put("else/c", 3);
    put("source/x.o", 1000);
    put("else/y.o", 2000);
    put("source/tmp/deep/d", 500);
    put("source/own/state", 50);
    put("source/large", 5000);
    task_.own = {*Path::parse(at("source/own"))};
    task_.set.exclude.patterns = {"*.o", "tmp/"};
    task_.set.exclude.origins = {"f:1", "f:2"};
    task_.set.exclude.larger_than = 4000;
    const Simulation found = run();
    ASSERT_EQ(found.paths.size(), 3u);
    // The path itself, a, own.
    EXPECT_EQ(found.paths[0].items, 3u);
    EXPECT_EQ(found.paths[0].bytes, 100u);
    EXPECT_EQ(found.paths[1].items, 2u);
    EXPECT_EQ(found.paths[1].bytes, 20u);
    EXPECT_EQ(found.paths[2].bytes, 3u);
    ASSERT_NE(rule(found, "*.o"), nullptr);
    EXPECT_EQ(rule(found, "*.o")->places, 2u);
    EXPECT_EQ(rule(found, "*.o")->bytes, 3000u);
    EXPECT_EQ(rule(found, "*.o")->origin, "f:1");
    EXPECT_EQ(rule(found, "tmp/")->items, 3u);
    EXPECT_EQ(rule(found, "tmp/")->bytes, 500u);
    EXPECT_EQ(rule(found, "larger-than")->example, at("source/large"));
    EXPECT_EQ(rule(found, "own")->bytes, 0u) << "what is ours is not weighed";
    EXPECT_FALSE(found.is_partial);
    EXPECT_EQ(found.measured.new_bytes, 123u);
}

TEST_F(SimulationTest, WhatALimitLeavesOutIsListedInOrder) {
    for (const char* name : {"source/c", "source/a", "source/b/d"}) put(name, 10);
    task_.set.limits.hard.bytes = 15;
    const Simulation found = run();
    ASSERT_EQ(found.left_out.size(), 2u);
    EXPECT_EQ(found.left_out[0].path, at("source/c"));
    EXPECT_EQ(found.left_out[1].path, at("source/b/d"));
    EXPECT_EQ(found.left_out[0].limit, "bytes");
    EXPECT_EQ(found.limits.left_out_bytes, 20u);
    EXPECT_EQ(found.limits.hit, std::vector<std::string>{"bytes"});
}

TEST_F(SimulationTest, WithoutTimeItTellsWhatItHas) {
    for (int i = 0; i < 3000; ++i) put("source/" + std::to_string(i), 1);
    task_.longest = Duration::zero();
    const Simulation found = run();
    EXPECT_TRUE(found.is_partial);
    EXPECT_GT(found.paths[0].items, 100u);
    EXPECT_LT(found.paths[0].items, 3001u);
    EXPECT_EQ(found.measured.new_items, found.paths[0].items);
}

TEST_F(SimulationTest, APathThatIsNotThereIsSaid) {
    task_.set.paths = {*Path::parse(at("nothing"))};
    auto found = simulate(task_, {});
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.error().code(), ErrorCode::no_such_path);
}

}  // namespace
}  // namespace backup
