// The persistent form: what is written is what is read, and what is damaged is noticed.
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "daemon/queue/change_queue.h"
#include "daemon/queue/mark_codec.h"
#include "tests/unit/queue/queue_text.h"

namespace backup {

namespace {

using Stored = std::map<std::string, std::string>;

void write(Stored& stored, const std::vector<QueueRecord>& records) {
    for (const QueueRecord& record : records) {
        if (record.value)
            stored[record.key] = *record.value;
        else
            stored.erase(record.key);
    }
}

std::vector<QueueRecord> records_of(const Stored& stored) {
    std::vector<QueueRecord> records;
    for (const auto& [key, value] : stored) records.push_back({key, value});
    return records;
}

Timestamp at(std::uint64_t seconds) {
    return Timestamp(std::chrono::seconds(seconds));
}

constexpr QueueLimits kSmall{.names_of_directory = 6, .marks = 60};

// The same steps for as many queues as one likes.
void random_step(std::mt19937_64& random, std::uint64_t now, std::vector<ChangeQueue*> queues) {
    auto handle = [&] { return "H" + std::to_string(random() % 9); };
    auto entry = [&] { return "n" + std::to_string(random() % 12); };
    VolumeId volume = random() % 3 == 0 ? "v1" : "v2";
    WatchBatch batch;
    auto each = [&](auto step) {
        for (ChangeQueue* queue : queues) step(*queue);
    };
    std::string h = handle(), n = entry();
    switch (random() % 16) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
            for (std::uint64_t i = random() % 4; i > 0; --i)
                batch.names.push_back({handle(), entry(), random() % 2 == 0, false});
            break;
        case 5:
        case 6:
            batch.moves.push_back({WatchBatch::DirectoryMove::Kind::moved, handle(), handle(),
                                   handle(), entry(), entry()});
            break;
        case 7:
            batch.moves.push_back(
                {WatchBatch::DirectoryMove::Kind::born, handle(), "", handle(), "", entry()});
            break;
        case 8:
            batch.moves.push_back(
                {WatchBatch::DirectoryMove::Kind::arrived, handle(), "", handle(), "", entry()});
            batch.objects.push_back(handle());
            batch.directories.push_back(handle());
            break;
        case 9:
            if (random() % 4 == 0) batch.lost = "lost";
            if (random() % 4 == 0) batch.relist.push_back(handle());
            break;
        case 10:
            return each(
                [&](ChangeQueue& queue) { queue.mark_name(volume, h, n, true, true, at(now)); });
        case 11:
            return each([&](ChangeQueue& queue) { queue.mark_subtree(volume, h, at(now)); });
        case 12:
            return each([&](ChangeQueue& queue) { queue.mark_left_scope(volume); });
        case 13:
            return each([&](ChangeQueue& queue) {
                queue.drop_name(volume, h, n, queue.generation());
                queue.drop_object(volume, h, queue.generation());
            });
        case 14: {
            if (random() % 3 != 0) return;
            std::uint64_t seed = random();
            return each([&](ChangeQueue& queue) {
                FrozenMarks frozen = queue.freeze();
                std::mt19937_64 during(seed);
                for (std::uint64_t i = during() % 3; i > 0; --i) {
                    WatchBatch meanwhile;
                    meanwhile.names.push_back({"H1", "n" + std::to_string(during() % 12), true});
                    if (during() % 4 == 0)
                        meanwhile.moves.push_back(
                            {WatchBatch::DirectoryMove::Kind::moved, "H2", "H3", "H4", "n1", "n2"});
                    queue.absorb(volume, meanwhile, at(now));
                }
                queue.clear(frozen);
            });
        }
        case 15:
            if (random() % 8 == 0)
                return each([&](ChangeQueue& queue) { queue.forget_volume(volume); });
            if (random() % 8 == 0)
                return each([](ChangeQueue& queue) { queue.read_what_is_marked(); });
            return;
    }
    each([&](ChangeQueue& queue) { queue.absorb(volume, batch, at(now)); });
}

Stored some_queue() {
    ChangeQueue queue;
    WatchBatch batch;
    batch.names = {{"D", "a", true, false}, {"D", "b", false, false}, {"E", "a", true, true}};
    batch.moves.push_back({WatchBatch::DirectoryMove::Kind::moved, "H", "D", "E", "x", "y"});
    batch.moves.push_back({WatchBatch::DirectoryMove::Kind::born, "N", "", "E", "", "new"});
    batch.directories = {"D"};
    batch.objects = {"O"};
    batch.relist = {"L"};
    queue.absorb("volume", batch, at(5));
    queue.mark_subtree("volume", "T", at(6));
    queue.mark_everything("other", "why not", at(7));
    queue.mark_left_scope("other");
    Stored stored;
    write(stored, queue.take_records());
    return stored;
}

}  // namespace

TEST(QueueRecords, AQueueThatIsReadBackAtAnyMomentIsTheSame) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        std::mt19937_64 random(seed);
        ChangeQueue model(kSmall), queue(kSmall);
        Stored stored;
        for (std::uint64_t now = 1; now <= 150; ++now) {
            random_step(random, now, {&model, &queue});
            if (random() % 3 == 0) write(stored, queue.take_records());
            if (random() % 5 == 0) {
                write(stored, queue.take_records());
                auto loaded = ChangeQueue::load(records_of(stored), kSmall);
                ASSERT_TRUE(loaded.ok()) << loaded.error().message() << " seed " << seed;
                queue = std::move(*loaded);
                ASSERT_FALSE(queue.has_records());
            }
            if (random() % 40 == 0) {
                stored.clear();
                write(stored, queue.all_records());
            }
            ASSERT_EQ(queue_text(model), queue_text(queue)) << "seed " << seed << ", " << now;
            ASSERT_EQ(model.generation(), queue.generation());
            ASSERT_EQ(model.size(), queue.size());
            ASSERT_EQ(model.oldest(), queue.oldest());
            ASSERT_EQ(model.newest(), queue.newest());
            std::uint64_t counted = 0;
            for (const auto& [id, volume] : queue.volumes()) counted += volume.count();
            ASSERT_EQ(counted, queue.size());
        }
    }
}

TEST(QueueRecords, WhatWaitsForItsContentIsReadWhenStampsProveNothing) {
    auto queue = ChangeQueue::load(records_of(some_queue()));
    ASSERT_TRUE(queue.ok());
    queue->read_what_is_marked();
    Stored stored = some_queue();
    write(stored, queue->take_records());
    auto again = ChangeQueue::load(records_of(stored));
    ASSERT_TRUE(again.ok());
    const VolumeMarks& marks = again->volumes().at("volume");
    EXPECT_TRUE(marks.directories.at("D").names.find("a")->must_read);
    EXPECT_FALSE(marks.directories.at("D").names.find("b")->must_read) << "its metadata only";
    EXPECT_TRUE(marks.directories.at("L").listing()->must_read) << "many names in one";
    EXPECT_FALSE(marks.directories.at("T").subtree()->must_read);
    EXPECT_TRUE(marks.objects.at("O").must_read);
    EXPECT_FALSE(again->volumes().at("other").everything.must_read);
}

TEST(QueueRecords, RepeatedMarksOfAKeyAreOneRecord) {
    ChangeQueue queue;
    for (int i = 0; i < 1000; ++i) queue.mark_name("v", "D", "a", true, false, at(1));
    EXPECT_EQ(queue.take_records().size(), 3u);  // the volume, the mark, the header
    EXPECT_FALSE(queue.has_records());
    EXPECT_TRUE(queue.take_records().empty());
    queue.mark_name("v", "D", "a", true, false, at(1));
    EXPECT_EQ(queue.take_records().size(), 2u);
}

TEST(QueueRecords, AMarkThatWasNeverWrittenNeedsNoRecordWhenItGoes) {
    ChangeQueue queue;
    queue.mark_name("v", "D", "a", true, false, at(1));
    queue.clear(queue.freeze());
    for (const QueueRecord& record : queue.take_records()) EXPECT_TRUE(record.value.has_value());
}

TEST(QueueRecords, NothingStoredIsAnEmptyQueue) {
    auto loaded = ChangeQueue::load({});
    ASSERT_TRUE(loaded.ok());
    EXPECT_TRUE(loaded->empty());
}

TEST(QueueRecords, WhatOthersKeepBesideTheQueueIsPassedOver) {
    auto records = records_of(some_queue());
    auto before = queue_text(*ChangeQueue::load(records));
    records.insert(records.begin(), {"!base", "anything"});
    auto loaded = ChangeQueue::load(records);
    ASSERT_TRUE(loaded.ok());
    EXPECT_EQ(queue_text(*loaded), before);
}

TEST(QueueRecords, EveryRecordThatIsMissingIsNoticed) {
    Stored stored = some_queue();
    ASSERT_GT(stored.size(), 12u);
    for (const auto& [key, value] : stored) {
        Stored less = stored;
        less.erase(key);
        auto loaded = ChangeQueue::load(records_of(less));
        ASSERT_FALSE(loaded.ok()) << key;
        EXPECT_EQ(loaded.error().kind(), ErrorKind::corrupt);
    }
}

TEST(QueueRecords, ARecordTooManyIsNoticed) {
    Stored stored = some_queue();
    std::string key = queue::encode_key(queue::RecordKind::name, 0, "D", "never marked");
    stored[key] = queue::encode_mark({.generation = 1});
    EXPECT_FALSE(ChangeQueue::load(records_of(stored)).ok());
}

TEST(QueueRecords, ValuesThatAreCutOrOverlongAreCorrupt) {
    Stored stored = some_queue();
    for (const auto& [key, value] : stored) {
        if (key[0] == 'v') continue;  // any bytes are the id of a volume
        for (std::size_t size = 0; size < value.size(); ++size) {
            // The place in an origin, and a reason, end where they end.
            if ((key[0] == 'b' || key[0] == 'e') && size > 8) continue;
            Stored cut = stored;
            cut[key] = value.substr(0, size);
            EXPECT_FALSE(ChangeQueue::load(records_of(cut)).ok()) << key << " " << size;
        }
        if (key[0] == 'b' || key[0] == 'e') continue;
        Stored longer = stored;
        longer[key] = value + "x";
        EXPECT_FALSE(ChangeQueue::load(records_of(longer)).ok()) << key;
    }
}

TEST(QueueRecords, DamagedBytesNeverCrashAndAnotherVersionIsRefused) {
    Stored stored = some_queue();
    std::mt19937_64 random(7);
    for (int round = 0; round < 3000; ++round) {
        auto records = records_of(stored);
        QueueRecord& record = records[random() % records.size()];
        std::string& bytes = random() % 2 == 0 ? record.key : *record.value;
        if (bytes.empty()) continue;
        bytes[random() % bytes.size()] = static_cast<char>(random());
        auto loaded = ChangeQueue::load(records);
        if (loaded.ok()) {
            EXPECT_GT(loaded->size(), 0u);
        }
    }
    stored["h"][0] = 2;
    EXPECT_FALSE(ChangeQueue::load(records_of(stored)).ok());
}

TEST(QueueRecords, KeysAndValuesSurviveTheRoundTrip) {
    using namespace queue;
    RecordKey key{RecordKind::name, 0x1234, std::string("h\x01\0x", 4), "a name\n"};
    auto decoded = decode_key(encode_key(key.kind, key.volume, key.handle, key.name));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(*decoded, key);
    Mark mark{.generation = 300, .content = 1, .deep = 1, .first_seen = at(9)};
    auto again = decode_mark(encode_mark(mark));
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(mark_text(*again), mark_text(mark));
    EXPECT_FALSE(decode_key("").ok());
    EXPECT_FALSE(decode_key("n").ok());
    EXPECT_FALSE(decode_key(encode_key(RecordKind::name, 1, "h", "..")).ok());
    EXPECT_FALSE(decode_key(encode_key(RecordKind::object, 1, "")).ok());
    EXPECT_FALSE(decode_generation(encode_generation(0)).ok());
}

}  // namespace backup
