#include "daemon/ipc/stream.h"

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "common/wire.h"

namespace backup {
namespace {

using namespace std::chrono_literals;

class StreamTest : public ::testing::Test {
  protected:
    StreamTest() { signal(SIGPIPE, SIG_IGN); }
    static std::string drain(UniqueFd reader) {
        std::string all;
        char buffer[65536];
        ssize_t n = 0;
        while ((n = read(reader.get(), buffer, sizeof buffer)) > 0)
            all.append(buffer, static_cast<std::size_t>(n));
        return all;
    }
    Loop loop;
    StreamSet streams{loop};
};

TEST_F(StreamTest, EndsWithTheCount) {
    auto reader = streams.start(1000, [](LineWriter& lines) -> Result<> {
        JsonLine line;
        line.number("n", 1);
        TRY(lines.write(line));
        line.text("s", "a\"b\n");
        return lines.write(line);
    });
    ASSERT_TRUE(reader.ok());
    EXPECT_EQ(drain(std::move(*reader)),
              "{\"n\":1}\n{\"s\":\"a\\\"b\\u000a\"}\n{\"end\":true,\"count\":2}\n");
}

TEST_F(StreamTest, EndsWithTheError) {
    auto reader = streams.start(1000, [](LineWriter&) -> Result<> {
        return Error(ErrorKind::not_found, ErrorCode::no_such_path, "no /x");
    });
    std::string all = drain(std::move(*reader));
    EXPECT_EQ(all, "{\"end\":true,\"error\":\"" + wire::full_error_name("NoSuchPath") +
                       "\",\"message\":\"no /x\"}\n");
}

TEST_F(StreamTest, WaitsForASlowReader) {
    constexpr std::uint64_t kLines = 200'000;  // more than a pipe holds
    auto reader = streams.start(1000, [](LineWriter& lines) -> Result<> {
        JsonLine line;
        for (std::uint64_t i = 0; i < kLines; ++i) {
            line.number("line", i);
            TRY(lines.write(line));
        }
        return {};
    });
    std::string all = drain(std::move(*reader));
    EXPECT_EQ(std::ranges::count(all, '\n'), static_cast<long>(kLines) + 1);
    EXPECT_TRUE(all.ends_with("{\"end\":true,\"count\":200000}\n"));
}

TEST_F(StreamTest, StopsWhenTheReaderHasGone) {
    Result<> last;
    auto reader = streams.start(1000, [&](LineWriter& lines) -> Result<> {
        JsonLine line;
        for (;;) {
            line.text("endless", std::string(1000, 'x'));
            last = lines.write(line);
            if (!last.ok()) {
                loop.stop();
                return last;
            }
        }
    });
    reader->reset();
    loop.run();
    EXPECT_EQ(last.error().kind(), ErrorKind::cancelled);
}

TEST_F(StreamTest, GivesUpOnAReaderThatNeverReads) {
    auto pipe = make_pipe();
    ASSERT_TRUE(pipe.ok());
    PipeWriter writer(std::move(pipe->writer), {}, 5ms);
    Result<> last;
    for (int i = 0; i < 100 && last.ok(); ++i) last = writer.write(std::string(100'000, 'x'));
    EXPECT_EQ(last.error().kind(), ErrorKind::cancelled);
}

TEST_F(StreamTest, AStopWakesABlockedWriter) {
    auto pipe = make_pipe();
    std::stop_source stop;
    Result<> last;
    std::jthread thread([&] {
        PipeWriter writer(std::move(pipe->writer), stop.get_token());
        while (last.ok()) last = writer.write(std::string(100'000, 'x'));
    });
    stop.request_stop();
    thread.join();
    EXPECT_EQ(last.error().kind(), ErrorKind::cancelled);
}

TEST_F(StreamTest, AtMostFourPerUser) {
    std::vector<StreamSet::Permit> held;
    for (int i = 0; i < 4; ++i) held.push_back(*streams.permit(1000));
    EXPECT_EQ(streams.permit(1000).error().code(), ErrorCode::limits_exceeded);
    EXPECT_TRUE(streams.permit(1001).ok());
    held.pop_back();
    EXPECT_TRUE(streams.permit(1000).ok());
}

TEST(JsonLine, NamesThatAreNoTextAreEncoded) {
    JsonLine line;
    line.name("path", "a\xff");
    EXPECT_EQ(line.finish(), "{\"path_b64\":\"Yf8=\"}\n");
    line.clear();
    line.counts("counts", {{"files-new", 1}, {"x", 2}}).null("n").boolean("b", false);
    EXPECT_EQ(line.finish(), "{\"counts\":{\"files_new\":1,\"x\":2},\"n\":null,\"b\":false}\n");
}

TEST(DictReader, NamesTheKeyThatNobodyKnows) {
    wire::DictReader options({{"limit", std::uint32_t{3}}, {"limt", std::uint32_t{4}}});
    EXPECT_EQ(options.number("limit"), 3u);
    auto finished = options.finish();
    ASSERT_FALSE(finished.ok());
    EXPECT_NE(finished.error().message().find("'limt'"), std::string::npos);
    EXPECT_EQ(wire::error_name(finished.error()), "org.freedesktop.DBus.Error.InvalidArgs");
}

TEST(DictReader, TakesIntegersOfAnyWidthAndRefusesOtherTypes) {
    wire::DictReader options(
        {{"a", std::int64_t{5}}, {"b", std::int64_t{-5}}, {"c", "text"}, {"d", 2.5}});
    EXPECT_EQ(options.number("a"), 5u);
    EXPECT_EQ(options.real("a"), 5.0);
    EXPECT_EQ(options.real("d"), 2.5);
    EXPECT_FALSE(options.number("b").has_value());
    EXPECT_EQ(options.text("c"), "text");
    EXPECT_FALSE(options.finish().ok());
}

TEST(Wire, PathsAndBack) {
    EXPECT_EQ(wire::set_from_path(wire::set_path("my-set.1")), "my-set.1");
    EXPECT_EQ(wire::repository_from_path(wire::repository_path("nas")), "nas");
    EXPECT_EQ(wire::job_from_path(wire::job_path(42)), 42u);
    EXPECT_FALSE(wire::job_from_path("/other/job/42").has_value());
    EXPECT_FALSE(wire::job_from_path(wire::root_path() + "/job/4x").has_value());
    EXPECT_FALSE(wire::set_from_path(wire::repository_path("nas")).has_value());
}

TEST(Wire, ErrorsAndBack) {
    for (ErrorCode code :
         {ErrorCode::no_such_set, ErrorCode::wrong_password, ErrorCode::invalid_arguments,
          ErrorCode::access_denied, ErrorCode::limits_exceeded, ErrorCode::repository_damaged}) {
        Error error(ErrorKind::io, code, "x");
        EXPECT_EQ(wire::error_from_name(wire::error_name(error), "x").code(), code);
    }
    EXPECT_EQ(wire::error_name(Error(ErrorKind::denied, "x")),
              "org.freedesktop.DBus.Error.AccessDenied");
    EXPECT_EQ(wire::short_error_name(Error(ErrorKind::corrupt, "x")), "RepositoryDamaged");
}

}  // namespace
}  // namespace backup
