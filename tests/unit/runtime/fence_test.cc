// What an administrator is told to do so that the service may write somewhere.
#include "daemon/runtime/fence.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace backup {
namespace {

TEST(Fence, TheCommandsWriteADropInForTheFolder) {
    EXPECT_EQ(commands_to_open_fence("/srv/backup"),
              "mkdir -p '/srv/backup' /etc/systemd/system/backupd.service.d && printf '%s\\n' "
              "'[Service]' 'ReadWritePaths=\"-/srv/backup\"' "
              ">>/etc/systemd/system/backupd.service.d/folders.conf && systemctl daemon-reload && "
              "systemctl restart backupd");
}

TEST(Fence, NamesAreQuotedForTheShellAndForTheUnit) {
    const std::string commands = commands_to_open_fence("/srv/it's 100% \"new\"\\");
    EXPECT_NE(commands.find(R"(mkdir -p '/srv/it'\''s 100% "new"\')"), commands.npos) << commands;
    EXPECT_NE(commands.find(R"('ReadWritePaths="-/srv/it'\''s 100%% \"new\"\\"')"), commands.npos)
        << commands;
}

TEST(Fence, OnlyAReadOnlyFileSystemIsExplained) {
    const Error denied = Error::from_errno(EACCES, "write");
    EXPECT_EQ(explain_fence(denied, "/srv").message(), denied.message());
}

}  // namespace
}  // namespace backup
