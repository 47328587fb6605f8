#include "daemon/runtime/command.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

using namespace std::chrono_literals;

CommandResult run(CommandRequest request, std::stop_token stop = {}) {
    auto result = run_command(request, std::move(stop));
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message());
    return result.ok() ? *result : CommandResult{};
}

TEST(Command, TellsHowItEndedAndWhatItSaid) {
    const auto good = run({.argv = {"/bin/sh", "-c", "cat; echo out"}, .input = "in\n"});
    EXPECT_TRUE(good.succeeded());
    EXPECT_EQ(good.output, "in\nout\n");
    const auto bad = run({.argv = {"/bin/sh", "-c", "echo first >&2; echo why >&2; exit 3"}});
    EXPECT_FALSE(bad.succeeded());
    EXPECT_EQ(bad.sentence(), "ended with status 3: why");
    EXPECT_EQ(run({.argv = {"/bin/sh", "-c", "kill -9 $$"}}).exit_code, 128 + 9);
}

TEST(Command, ArgumentsAreNoShellsLine) {
    EXPECT_EQ(run({.argv = {"/bin/echo", "a b", "$HOME", "`id`"}}).output, "a b $HOME `id`\n");
}

TEST(Command, GetsTheEnvironmentThatIsGivenAndLittleElse) {
    ::setenv("SECRET_OF_OURS", "x", 1);
    const auto result = run({.argv = {"/usr/bin/env"}, .environment = {{"GIVEN", "1 2"}}});
    EXPECT_NE(result.output.find("GIVEN=1 2\n"), std::string::npos);
    EXPECT_EQ(result.output.find("SECRET_OF_OURS"), std::string::npos);
}

TEST(Command, WhatTakesTooLongIsKilledWithAllItStarted) {
    const auto result =
        run({.argv = {"/bin/sh", "-c", "sleep 1000 & sleep 1000"}, .timeout = 100ms});
    EXPECT_TRUE(result.timed_out);
    EXPECT_FALSE(result.succeeded());
}

TEST(Command, EndsWhenAskedToStop) {
    std::stop_source stop;
    stop.request_stop();
    EXPECT_FALSE(run({.argv = {"/bin/sleep", "1000"}}, stop.get_token()).succeeded());
}

TEST(Command, AChattyProgramIsCutAndOneInTheBackgroundIsNotWaitedFor) {
    const auto chatty = run({.argv = {"/bin/sh", "-c", "yes | head -c 1000000; echo last >&2"}});
    EXPECT_TRUE(chatty.succeeded());
    EXPECT_EQ(chatty.output.size(), std::size_t{64} << 10);
    EXPECT_EQ(chatty.errors, "last\n");
    EXPECT_TRUE(run({.argv = {"/bin/sh", "-c", "sleep 5 & exit 0"}}).succeeded());
}

TEST(Command, OneThatIsNotThereIsAnError) {
    EXPECT_FALSE(run_command({.argv = {"/no/such/program"}}).ok());
}

}  // namespace
}  // namespace backup
