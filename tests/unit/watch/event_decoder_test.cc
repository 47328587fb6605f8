#include "daemon/watch/event_decoder.h"

#include <cstring>

#include <gtest/gtest.h>
#include <linux/fanotify.h>
#include <sys/inotify.h>

namespace backup {

namespace {

// Records as the kernel writes them, part by part.
class Record {
  public:
    Record(std::uint64_t mask, std::int32_t pid = 7) {
        head_.vers = FANOTIFY_METADATA_VERSION;
        head_.metadata_len = sizeof(head_);
        head_.mask = mask;
        head_.fd = FAN_NOFD;
        head_.pid = pid;
    }
    Record& part(std::uint8_t type, const std::string& handle, const std::string* name = nullptr,
                 std::int32_t handle_type = 1) {
        std::string body(8, '\x55');  // fsid
        const auto length = static_cast<std::uint32_t>(handle.size());
        body.append(reinterpret_cast<const char*>(&length), 4);
        body.append(reinterpret_cast<const char*>(&handle_type), 4);
        body += handle;
        if (name != nullptr) body += *name + '\0';
        while (body.size() % 4 != 0) body += '\0';
        return raw(type, body);
    }
    Record& named(std::uint8_t type, const std::string& handle, const std::string& name) {
        return part(type, handle, &name);
    }
    Record& raw(std::uint8_t type, const std::string& body) {
        fanotify_event_info_header info{};
        info.info_type = type;
        info.len = static_cast<std::uint16_t>(sizeof(info) + body.size());
        parts_.append(reinterpret_cast<const char*>(&info), sizeof(info));
        parts_ += body;
        return *this;
    }
    std::string bytes() const {
        fanotify_event_metadata head = head_;
        head.event_len = static_cast<std::uint32_t>(sizeof(head) + parts_.size());
        return std::string(reinterpret_cast<const char*>(&head), sizeof(head)) + parts_;
    }

  private:
    fanotify_event_metadata head_{};
    std::string parts_;
};

// The record points into the bytes: they have to outlive it.
FanotifyRecord only(const std::string& bytes) {
    FanotifyDecoder decoder(as_bytes(bytes));
    FanotifyRecord record, end;
    EXPECT_TRUE(decoder.next(record));
    EXPECT_FALSE(decoder.next(end));
    return record;
}

constexpr auto kObject = FAN_EVENT_INFO_TYPE_FID;
constexpr auto kDirectory = FAN_EVENT_INFO_TYPE_DFID;
constexpr auto kName = FAN_EVENT_INFO_TYPE_DFID_NAME;
constexpr auto kOld = FAN_EVENT_INFO_TYPE_OLD_DFID_NAME;
constexpr auto kNew = FAN_EVENT_INFO_TYPE_NEW_DFID_NAME;

}  // namespace

TEST(FanotifyDecoder, ReadsNameAndObject) {
    const std::string bytes =
        Record(FAN_CREATE).named(kName, "dirdirdi", "name").part(kObject, "objobjob").bytes();
    const FanotifyRecord record = only(bytes);
    EXPECT_FALSE(record.is_unusable);
    EXPECT_FALSE(record.is_overflow);
    EXPECT_EQ(record.mask, FAN_CREATE);
    EXPECT_EQ(record.pid, 7);
    EXPECT_EQ(record.name, "name");
    EXPECT_EQ(record.directory.handle(),
              "h\x01"
              "dirdirdi");
    EXPECT_EQ(record.object.handle(),
              "h\x01"
              "objobjob");
    EXPECT_FALSE(record.is_about_directory_itself());
}

TEST(FanotifyDecoder, ReadsBothSidesOfARename) {
    const std::string bytes = Record(FAN_RENAME | FAN_ONDIR)
                                  .named(kOld, "olddir12", "before")
                                  .named(kNew, "newdir12", "after")
                                  .part(kObject, "moved123")
                                  .bytes();
    const FanotifyRecord record = only(bytes);
    EXPECT_FALSE(record.is_unusable);
    EXPECT_EQ(record.old_name, "before");
    EXPECT_EQ(record.new_name, "after");
    EXPECT_EQ(record.old_directory.bytes, "olddir12");
    EXPECT_EQ(record.new_directory.bytes, "newdir12");
    EXPECT_EQ(record.object.bytes, "moved123");
}

TEST(FanotifyDecoder, ReadsADirectoryItself) {
    for (const std::string& bytes :
         {Record(FAN_ATTRIB | FAN_ONDIR).named(kName, "dirdirdi", ".").bytes(),
          Record(FAN_ATTRIB | FAN_ONDIR).part(kDirectory, "dirdirdi").bytes()}) {
        const FanotifyRecord record = only(bytes);
        EXPECT_FALSE(record.is_unusable);
        EXPECT_TRUE(record.is_about_directory_itself());
    }
}

TEST(FanotifyDecoder, ReadsAnObjectWithoutAName) {
    const std::string bytes = Record(FAN_MODIFY).part(kObject, "objobjob").bytes();
    const FanotifyRecord record = only(bytes);
    EXPECT_FALSE(record.is_unusable);
    EXPECT_TRUE(record.directory.empty());
    EXPECT_EQ(record.object.bytes, "objobjob");
}

TEST(FanotifyDecoder, ReadsAnOverflowThatHasNoParts) {
    const std::string bytes = Record(FAN_Q_OVERFLOW).bytes();
    const FanotifyRecord record = only(bytes);
    EXPECT_TRUE(record.is_overflow);
    EXPECT_FALSE(record.is_unusable);
}

TEST(FanotifyDecoder, SkipsPartsItDoesNotKnow) {
    const std::string bytes = Record(FAN_DELETE)
                                  .raw(FAN_EVENT_INFO_TYPE_PIDFD, "abcd")
                                  .raw(200, std::string(64, 'x'))
                                  .raw(201, "")
                                  .named(kName, "dirdirdi", "name")
                                  .bytes();
    const FanotifyRecord record = only(bytes);
    EXPECT_FALSE(record.is_unusable);
    EXPECT_EQ(record.name, "name");
}

TEST(FanotifyDecoder, ReadsOneRecordAfterTheOther) {
    const std::string bytes = Record(FAN_CREATE).named(kName, "dirdirdi", "one").bytes() +
                              Record(FAN_CREATE).bytes() +
                              Record(FAN_CREATE).named(kName, "dirdirdi", "two").bytes();
    FanotifyDecoder decoder(as_bytes(bytes));
    FanotifyRecord record;
    ASSERT_TRUE(decoder.next(record));
    EXPECT_EQ(record.name, "one");
    ASSERT_TRUE(decoder.next(record));
    EXPECT_TRUE(record.is_unusable) << "without the part it needs";
    ASSERT_TRUE(decoder.next(record));
    EXPECT_EQ(record.name, "two");
    EXPECT_FALSE(decoder.next(record));
}

TEST(FanotifyDecoder, WhatIsMissingOrWrongMakesARecordUnusable) {
    const std::string no_end(300, 'n');
    const std::vector<std::pair<const char*, std::string>> cases{
        {"create without a name", Record(FAN_CREATE).part(kObject, "objobjob").bytes()},
        {"create of a directory itself", Record(FAN_CREATE).part(kDirectory, "dirdirdi").bytes()},
        {"create of .", Record(FAN_CREATE).named(kName, "dirdirdi", ".").bytes()},
        {"name ..", Record(FAN_MODIFY).named(kName, "dirdirdi", "..").bytes()},
        {"empty name", Record(FAN_MODIFY).named(kName, "dirdirdi", "").bytes()},
        {"slash", Record(FAN_MODIFY).named(kName, "dirdirdi", "a/b").bytes()},
        {"name of 256", Record(FAN_MODIFY).named(kName, "dirdirdi", std::string(256, 'a')).bytes()},
        {"name without an end",
         Record(FAN_MODIFY)
             .raw(kName, std::string(8, '\0') + std::string("\x04\0\0\0", 4) +
                             std::string("\x01\0\0\0", 4) + "handname")
             .bytes()},
        {"modify of nothing", Record(FAN_MODIFY).bytes()},
        {"rename with one side", Record(FAN_RENAME).named(kOld, "dirdirdi", "a").bytes()},
        {"rename of .",
         Record(FAN_RENAME).named(kOld, "dirdirdi", ".").named(kNew, "dirdirdi", "b").bytes()},
        {"no mask", Record(0).named(kName, "dirdirdi", "a").bytes()},
        {"unknown mask", Record(FAN_OPEN).named(kName, "dirdirdi", "a").bytes()},
        {"empty handle", Record(FAN_MODIFY).part(kObject, "").bytes()},
        {"handle type 0", Record(FAN_MODIFY).part(kObject, "objobjob", nullptr, 0).bytes()},
        {"handle type 255", Record(FAN_MODIFY).part(kObject, "objobjob", nullptr, 255).bytes()},
        {"large handle", Record(FAN_MODIFY).part(kObject, std::string(132, 'h')).bytes()},
        {"short part", Record(FAN_MODIFY).raw(kObject, "abc").bytes()},
    };
    for (const auto& [what, bytes] : cases) EXPECT_TRUE(only(bytes).is_unusable) << what;
}

TEST(FanotifyDecoder, ALengthThatCannotBeTrustedEndsTheBuffer) {
    const std::string good = Record(FAN_CREATE).named(kName, "dirdirdi", "name").bytes();
    for (std::size_t length = 1; length < good.size(); ++length)
        EXPECT_TRUE(only(good.substr(0, length)).is_unusable) << length;
    std::string bad = good;
    bad[0] = 3;  // event_len
    EXPECT_TRUE(only(bad).is_unusable);
    bad = good;
    bad[4] = 2;  // version
    EXPECT_TRUE(only(bad + good).is_unusable);
    bad = good;
    bad[6] = 1;  // metadata_len
    EXPECT_TRUE(only(bad).is_unusable);
    bad = good;
    bad[24 + 2] = 1;  // length of the first part, less than its head
    EXPECT_TRUE(only(bad).is_unusable);
    FanotifyRecord record;
    EXPECT_FALSE(FanotifyDecoder({}).next(record));
}

namespace {

std::string inotify(int watch, std::uint32_t mask, const std::string& name, std::size_t padding) {
    inotify_event head{};
    head.wd = watch;
    head.mask = mask;
    head.cookie = 5;
    head.len = static_cast<std::uint32_t>(name.size() + padding);
    return std::string(reinterpret_cast<const char*>(&head), sizeof(head)) + name +
           std::string(padding, '\0');
}

InotifyRecord only_inotify(const std::string& bytes) {
    InotifyDecoder decoder(as_bytes(bytes));
    InotifyRecord record, end;
    EXPECT_TRUE(decoder.next(record));
    EXPECT_FALSE(decoder.next(end));
    return record;
}

}  // namespace

TEST(InotifyDecoder, ReadsNamesAndTheirPadding) {
    const std::string bytes = inotify(3, IN_CREATE, "name", 12) + inotify(4, IN_ATTRIB, "", 0) +
                              inotify(5, IN_MOVED_TO, std::string(255, 'x'), 1) +
                              inotify(-1, IN_Q_OVERFLOW, "", 0);
    InotifyDecoder decoder(as_bytes(bytes));
    InotifyRecord record;
    ASSERT_TRUE(decoder.next(record));
    EXPECT_EQ(record.watch, 3);
    EXPECT_EQ(record.cookie, 5U);
    EXPECT_EQ(record.name, "name");
    ASSERT_TRUE(decoder.next(record));
    EXPECT_EQ(record.name, "");
    EXPECT_FALSE(record.is_unusable);
    ASSERT_TRUE(decoder.next(record));
    EXPECT_EQ(record.name.size(), 255U);
    EXPECT_FALSE(record.is_unusable);
    ASSERT_TRUE(decoder.next(record));
    EXPECT_TRUE(record.is_overflow);
    EXPECT_FALSE(record.is_unusable);
    EXPECT_FALSE(decoder.next(record));
}

TEST(InotifyDecoder, WhatIsMissingOrWrongMakesARecordUnusable) {
    EXPECT_TRUE(only_inotify(inotify(3, IN_CREATE, "", 0)).is_unusable);
    EXPECT_TRUE(only_inotify(inotify(3, IN_CREATE, "..", 6)).is_unusable);
    EXPECT_TRUE(only_inotify(inotify(3, IN_CREATE, ".", 7)).is_unusable);
    EXPECT_TRUE(only_inotify(inotify(3, IN_CREATE, "a/b", 5)).is_unusable);
    EXPECT_TRUE(only_inotify(inotify(-1, IN_CREATE, "a", 7)).is_unusable);
    EXPECT_TRUE(only_inotify(inotify(3, IN_CREATE, std::string(256, 'a'), 4)).is_unusable);
    const std::string good = inotify(3, IN_CREATE, "name", 12);
    for (std::size_t length = 1; length < good.size(); ++length)
        EXPECT_TRUE(only_inotify(good.substr(0, length)).is_unusable) << length;
}

}  // namespace backup
