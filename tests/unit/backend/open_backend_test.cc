#include <gtest/gtest.h>

#include "daemon/backend/local_backend.h"

namespace backup {
namespace {

std::string root_of(const std::string& url) {
    auto opened = open_backend(url);
    if (!opened.ok()) return "error: " + opened.error().message();
    auto* local = dynamic_cast<LocalBackend*>(opened->backend.get());
    return local == nullptr ? "not local" : local->root().text();
}

TEST(OpenBackend, AcceptsTheThreeFormsOfALocalDirectory) {
    EXPECT_EQ(root_of("/srv/backup"), "/srv/backup");
    EXPECT_EQ(root_of("local:/srv/backup/"), "/srv/backup");
    EXPECT_EQ(root_of("file:///srv/backup"), "/srv/backup");
    EXPECT_EQ(root_of("file://localhost/srv/my%20backup%C3%A4"), "/srv/my backup\xc3\xa4");
}

TEST(OpenBackend, HandsOutDeletingBesideTheBackend) {
    auto opened = open_backend("/srv/backup");
    ASSERT_TRUE(opened.ok());
    EXPECT_NE(opened->deleting, nullptr);
}

TEST(OpenBackend, RefusesRelativePathsAndTheRoot) {
    for (const char* url : {"srv/backup", "local:srv", "file://srv/backup", "", "/", "local:/",
                            "/srv/../etc", "file:///srv%2", "file:///srv%zz"}) {
        auto opened = open_backend(url);
        ASSERT_FALSE(opened.ok()) << url;
        EXPECT_EQ(opened.error().kind(), ErrorKind::invalid) << url;
    }
}

TEST(OpenBackend, UnknownSchemesAreUnsupportedAndTheirPasswordsNotRepeated) {
    for (const char* url :
         {"sftp:user@host:/path", "s3:https://host/bucket", "rest:https://me:secret@host/",
          "https://me:secret@host/", "ftp://me:secret@host/"}) {
        auto opened = open_backend(url);
        ASSERT_FALSE(opened.ok()) << url;
        EXPECT_EQ(opened.error().kind(), ErrorKind::invalid);
        EXPECT_EQ(opened.error().code(), ErrorCode::unsupported);
        EXPECT_EQ(opened.error().message().find("secret"), std::string::npos);
    }
}

}  // namespace
}  // namespace backup
