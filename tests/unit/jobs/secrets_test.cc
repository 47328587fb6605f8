#include "daemon/jobs/secrets.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/runtime/durable_file.h"
#include "tests/support/temp_directory.h"

namespace backup {
namespace {

Result<Secret> through_pipe(const std::string& text) {
    int fds[2];
    EXPECT_EQ(pipe(fds), 0);
    UniqueFd out(fds[0]), in(fds[1]);
    EXPECT_EQ(write(in.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    in.reset();
    return read_secret(out.get());
}

TEST(Secrets, StripsWhiteSpaceAtBothEndsOnly) {
    auto secret = through_pipe(" \tpass word \r\n");
    ASSERT_TRUE(secret.ok());
    EXPECT_EQ(as_text(secret->view()), "pass word");
}

TEST(Secrets, RefusesNothingAndTooMuch) {
    EXPECT_EQ(through_pipe("").error().code(), ErrorCode::invalid_arguments);
    EXPECT_EQ(through_pipe(" \n").error().code(), ErrorCode::invalid_arguments);
    TempDirectory folder;
    std::string path = folder.path() + "/long";
    ASSERT_TRUE(write_file_durably(path, std::string(kMostSecretBytes + 1, 'x'), 0600).ok());
    EXPECT_FALSE(find_password({.name = "a", .url = "", .password_file = path}, {}).ok());
}

TEST(Secrets, GivesUpOnAPipeThatStaysSilent) {
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    UniqueFd out(fds[0]), in(fds[1]);
    EXPECT_EQ(read_secret(out.get(), std::chrono::milliseconds(1)).error().code(),
              ErrorCode::invalid_arguments);
}

class PasswordPlaces : public ::testing::Test {
  protected:
    void put(const std::string& path, const std::string& text, unsigned mode = 0600) {
        ASSERT_TRUE(write_file_durably(folder.path() + "/" + path, text, mode).ok());
    }
    std::string find() {
        auto found = find_password(repository, places);
        if (!found.ok()) return "error";
        return *found ? std::string(as_text((*found)->view())) : "none";
    }
    TempDirectory folder;
    SecretPlaces places{folder.path() + "/config", folder.path() + "/credentials"};
    RepositoryPolicy repository{.name = "main"};
};

TEST_F(PasswordPlaces, CredentialBeforeFileBeforeKeptCopy) {
    EXPECT_EQ(find(), "none");
    put("config/secrets/main", "kept\n");
    EXPECT_EQ(find(), "kept");
    put("file", "from file\n", 0644);
    repository.password_file = folder.path() + "/file";
    EXPECT_EQ(find(), "from file");
    put("credentials/repo-password.main", "credential");
    EXPECT_EQ(find(), "credential");
}

TEST_F(PasswordPlaces, KeptCopyThatOthersCanReadIsRefused) {
    put("config/secrets/main", "kept\n", 0640);
    EXPECT_EQ(find(), "error");
}

TEST_F(PasswordPlaces, KeptCopyIsOurs) {
    Secret secret(to_bytes(std::string_view("s")));
    ASSERT_TRUE(keep_secret(places, "main", secret).ok());
    struct stat status {};
    ASSERT_EQ(stat(kept_secret_path(places, "main").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    EXPECT_EQ(find(), "s");
}

TEST(DurableFile, ReplacesWholeOrNotAtAll) {
    TempDirectory folder;
    std::string path = folder.path() + "/sub/file";
    ASSERT_TRUE(write_file_durably(path, "one", 0600).ok());
    ASSERT_TRUE(write_file_durably(path, "two", 0600).ok());
    EXPECT_EQ(*read_small_file(path, 100), "two");
    EXPECT_FALSE(read_small_file(path, 2).ok());
    ASSERT_TRUE(remove_file_durably(path).ok());
    ASSERT_TRUE(remove_file_durably(path).ok());
    EXPECT_FALSE(read_small_file(path, 2).ok());
    // A folder in its place: the error leaves no half file behind.
    ASSERT_TRUE(make_folders(path).ok());
    EXPECT_FALSE(write_file_durably(path, "three", 0600).ok());
    EXPECT_NE(access((path + ".new~").c_str(), F_OK), 0);
}

}  // namespace
}  // namespace backup
