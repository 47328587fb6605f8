#include "daemon/repository/repository.h"

#include <algorithm>

#include "daemon/repository/config_codec.h"
#include "daemon/repository/index_file.h"
#include "daemon/repository/unpacked.h"
#include "tests/unit/repository/engine_fixture.h"

namespace backup {
namespace {

struct Fixture {
    explicit Fixture(const std::string& name) : expected(vectors::load(name + "/expected.json")) {
        backend.set_files(fixture_files(name));
        password = read_fixture_text(fixture("restic/" + name + "/password.txt"));
    }
    Result<std::unique_ptr<Repository>> open() {
        return Repository::open(backend, as_bytes(password), options_for_test(clock, nullptr));
    }
    nlohmann::json expected;
    MemoryBackend backend;
    std::string password;
    StillClock clock;
};

class ResticRepository : public testing::TestWithParam<const char*> {};

TEST_P(ResticRepository, IsReadInFull) {
    Fixture fixture(GetParam());
    auto repository = must(fixture.open());
    EXPECT_EQ(repository->config().version, fixture.expected["repo_version"].get<unsigned>());
    must(repository->refresh_index({}));

    std::size_t blobs = 0;
    for (const auto& [id, content] : fixture.expected["trees"].items()) {
        Bytes loaded = must(repository->blobs().load({BlobType::tree, *BlobId::from_hex(id)}));
        EXPECT_EQ(as_text(loaded), vectors::from_base64(content));
        ++blobs;
    }
    for (const auto& [id, blob] : fixture.expected["data_blobs"].items()) {
        const BlobHandle handle{BlobType::data, *BlobId::from_hex(id)};
        Bytes loaded = must(repository->blobs().load(handle));
        EXPECT_EQ(loaded.size(), blob["length"].get<std::size_t>());
        if (blob.contains("content_b64")) {
            EXPECT_EQ(as_text(loaded), vectors::from_base64(blob["content_b64"]));
        }
        EXPECT_EQ(repository->blobs().locate(handle)->plain_length(), loaded.size());
        ++blobs;
    }
    EXPECT_GT(blobs, 5u);

    std::vector<Error> broken;
    std::vector<RevisionEntry> revisions = must(repository->list_revisions(&broken));
    EXPECT_TRUE(broken.empty());
    EXPECT_EQ(revisions.size(), fixture.expected["snapshots"].size());
    for (const RevisionEntry& entry : revisions) {
        auto json = nlohmann::json::parse(
            fixture.expected["snapshots"].at(entry.id.hex())["json"].get<std::string>());
        EXPECT_EQ(entry.snapshot.tree.hex(), json["tree"].get<std::string>());
    }
    EXPECT_EQ(count(fixture.backend, FileType::lock), 0u);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ResticRepository, testing::Values("v1", "v2", "v2-unusual"));

TEST(Repository, ReadsWholePacksInOffsetOrder) {
    Fixture fixture("v2");
    auto repository = must(fixture.open());
    must(repository->refresh_index({}));
    for (const auto& [pack, content] : fixture.expected["packs"].items()) {
        std::vector<BlobSource::Wanted> wanted;
        repository->each_indexed([&](const BlobHandle& handle, const BlobLocation& place) {
            if (place.pack.hex() == pack) wanted.push_back({handle, place});
        });
        ASSERT_EQ(wanted.size(), content["header"].size());
        std::vector<std::uint32_t> offsets;
        must(repository->blobs().load_from_pack(
            *PackId::from_hex(pack), wanted,
            [&](std::size_t i, Result<ByteView> plain) -> Result<> {
                EXPECT_TRUE(plain.ok() && blob_id(*plain) == wanted[i].handle.id);
                offsets.push_back(wanted[i].location.offset);
                return {};
            }));
        EXPECT_EQ(offsets.size(), wanted.size());
        EXPECT_TRUE(std::ranges::is_sorted(offsets));
    }
}

TEST(Repository, TellsWrongPasswordFromMissingFromDamaged) {
    StillClock clock;
    MemoryBackend backend;
    auto code_of = [&](ByteView password) {
        auto opened = Repository::open(backend, password, {.clock = &clock});
        return opened.ok() ? ErrorCode::none : opened.error().code();
    };
    EXPECT_EQ(code_of(quick_password()), ErrorCode::repository_missing);
    make_repository(backend, clock);
    EXPECT_EQ(code_of(quick_password()), ErrorCode::none);
    EXPECT_EQ(code_of(as_bytes("other")), ErrorCode::wrong_password);

    const MemoryBackend::Files good = backend.files();
    const Handle config{FileType::config, {}};
    Bytes flipped = must(backend.get(config));
    flipped[20] ^= 1;
    backend.overwrite(config, flipped);
    EXPECT_EQ(code_of(quick_password()), ErrorCode::repository_damaged);
    backend.set_files(good);
    backend.overwrite(config, Bytes(10));
    EXPECT_EQ(code_of(quick_password()), ErrorCode::repository_damaged);

    MemoryBackend::Files keyless = good;
    std::erase_if(keyless, [](const auto& file) { return file.first.first == FileType::key; });
    backend.set_files(keyless);
    EXPECT_EQ(code_of(quick_password()), ErrorCode::repository_damaged);
}

TEST(Repository, RefusesAnUnknownVersion) {
    StillClock clock;
    MemoryBackend backend;
    auto repository = make_repository(backend, clock);
    std::string json = R"({"version":3,"id":")" + repository->config().id +
                       R"(","chunker_polynomial":"3da3358b4dc173"})";
    backend.overwrite({FileType::config, {}}, repository->master_key().seal(as_bytes(json)));
    auto opened = Repository::open(backend, quick_password(), {.clock = &clock});
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code(), ErrorCode::unsupported);
}

TEST(Repository, IsReadButNotWrittenWhenAnotherToolChoseAChunkerThatIsNotOurs) {
    StillClock clock;
    MemoryBackend backend;
    auto repository = make_repository(backend, clock);
    std::string json = encode_config(repository->config());
    const std::size_t end = json.rfind('}');
    ASSERT_NE(end, std::string::npos);
    json.insert(end, R"(,"chunk_size":65536)");
    backend.overwrite({FileType::config, {}}, repository->master_key().seal(as_bytes(json)));
    auto opened = open_repository(backend, clock);
    EXPECT_TRUE(opened->list_revisions().ok());
    const std::size_t files = backend.files().size();
    auto session = opened->start_write({}, {});
    ASSERT_FALSE(session.ok());
    EXPECT_EQ(session.error().code(), ErrorCode::unsupported);
    EXPECT_EQ(backend.files().size(), files) << "not even a lock";
}

TEST(Repository, IsNotMadeOverAnother) {
    StillClock clock;
    MemoryBackend backend;
    make_repository(backend, clock);
    const std::size_t files = backend.files().size();
    auto again = Repository::init(backend, quick_password(), {.clock = &clock}, kQuickKey);
    ASSERT_FALSE(again.ok());
    EXPECT_EQ(again.error().kind(), ErrorKind::conflict);

    // What is left of one counts, too: its snapshots would become unreadable for ever.
    MemoryBackend::Files rest = backend.files();
    rest.erase({FileType::config, {}});
    backend.set_files(rest);
    again = Repository::init(backend, quick_password(), {.clock = &clock}, kQuickKey);
    ASSERT_FALSE(again.ok());
    EXPECT_EQ(again.error().kind(), ErrorKind::conflict);
    EXPECT_EQ(backend.files().size(), files - 1);
}

TEST(Repository, OpensWithAnyOfItsKeysAndRemovesAllButTheCurrent) {
    StillClock clock;
    MemoryBackend backend;
    auto repository = make_repository(backend, clock);
    const KeyId second = must(repository->add_key(as_bytes("second"), kQuickKey));
    auto keys = must(repository->list_keys());
    ASSERT_EQ(keys.size(), 2u);
    const KeyId first = keys[0].id == second ? keys[1].id : keys[0].id;
    for (const KeyInfo& key : keys) EXPECT_EQ(key.is_current, key.id == first);

    auto other =
        must(Repository::open(backend, as_bytes("second"), {.clock = &clock, .key_hint = second}));
    EXPECT_EQ(other->config().id, repository->config().id);

    EXPECT_FALSE(repository->remove_key(first, backend).ok());
    must(repository->remove_key(second, backend));
    EXPECT_FALSE(Repository::open(backend, as_bytes("second"), {.clock = &clock}).ok());
    EXPECT_EQ(count(backend, FileType::lock), 0u);
    // The other handle must not remove the last key that is left, though it is not its own.
    EXPECT_FALSE(other->remove_key(first, backend).ok());
    EXPECT_TRUE(Repository::open(backend, quick_password(), {.clock = &clock}).ok());
}

TEST(Repository, SkipsAKeyFileThatIsDamaged) {
    StillClock clock;
    MemoryBackend backend;
    make_repository(backend, clock);
    Bytes rubbish = to_bytes("{\"kdf\":\"scrypt\"}");
    for (std::uint8_t first : {0x00, 0xff}) {
        FileId id{};
        id.bytes[0] = first;
        backend.overwrite({FileType::key, id}, rubbish);
    }
    EXPECT_TRUE(Repository::open(backend, quick_password(), {.clock = &clock}).ok());
}

TEST(Repository, FollowsIndexFilesThatComeAndGo) {
    StillClock clock;
    MemoryBackend backend;
    auto mine = make_repository(backend, clock);
    auto theirs = open_repository(backend, clock);
    must(mine->refresh_index({}));
    const Bytes content = text_blob(1);
    const BlobHandle handle{BlobType::data, blob_id(content)};
    {
        auto session = must(theirs->start_write({}, {}));
        must(session->save(BlobType::data, content));
        must(session->checkpoint());
    }
    EXPECT_FALSE(mine->blobs().contains(handle));
    must(mine->refresh_index({}));
    EXPECT_EQ(must(mine->blobs().load(handle)), content);

    std::vector<FileId> indexes;
    must(backend.list(FileType::index, [&](const FileInfo& info) { indexes.push_back(info.id); }));
    ASSERT_EQ(indexes.size(), 1u);
    must(backend.remove({FileType::index, indexes[0]}));
    must(mine->refresh_index({}));
    EXPECT_FALSE(mine->blobs().contains(handle));
}

TEST(Repository, ReportsADamagedIndexAndLoadsTheOthers) {
    StillClock clock;
    MemoryBackend backend;
    auto repository = make_repository(backend, clock);
    {
        auto session = must(repository->start_write({}, {}));
        must(session->save(BlobType::data, text_blob(1)));
        must(session->checkpoint());
        must(session->save(BlobType::data, text_blob(2)));
        must(session->checkpoint());
    }
    std::vector<FileId> indexes;
    must(backend.list(FileType::index, [&](const FileInfo& info) { indexes.push_back(info.id); }));
    ASSERT_EQ(indexes.size(), 2u);
    Bytes content = must(backend.get({FileType::index, indexes[0]}));
    content[content.size() / 2] ^= 4;
    backend.overwrite({FileType::index, indexes[0]}, content);

    // As a fresh machine, which has no copy of the index yet.
    auto fresh = must(Repository::open(backend, quick_password(), {.clock = &clock}));
    auto refused = fresh->refresh_index({});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().kind(), ErrorKind::corrupt);
    EXPECT_NE(refused.error().message().find(indexes[0].short_hex()), std::string::npos);
    std::vector<Error> broken;
    must(fresh->refresh_index({}, &broken));
    EXPECT_EQ(broken.size(), 1u);
    EXPECT_NE(fresh->blobs().contains({BlobType::data, blob_id(text_blob(1))}),
              fresh->blobs().contains({BlobType::data, blob_id(text_blob(2))}));
    EXPECT_FALSE(fresh->start_write({}, {}).ok());
}

TEST(Repository, ReadsABlobFromItsOtherCopyWhenOneIsDamaged) {
    StillClock clock;
    MemoryBackend backend;
    auto repository = make_repository(backend, clock);
    const Bytes content = noise_blob(7, 5000);
    const BlobHandle handle{BlobType::data, blob_id(content)};
    // Two sessions at once do not know of each other's blobs: both store it.
    {
        auto one = must(repository->start_write({}, {}));
        auto two = must(repository->start_write({}, {}));
        must(one->save(BlobType::data, content));
        must(one->save(BlobType::data, text_blob(1)));
        must(two->save(BlobType::data, content));
        must(one->checkpoint());
        must(two->checkpoint());
    }
    std::vector<FileId> packs;
    must(backend.list(FileType::pack, [&](const FileInfo& info) { packs.push_back(info.id); }));
    ASSERT_EQ(packs.size(), 2u);
    const BlobLocation first = *repository->blobs().locate(handle);
    const Handle file{FileType::pack, id_cast<FileId>(first.pack)};
    Bytes pack = must(backend.get(file));
    const Bytes good = pack;
    pack[first.offset + 100] ^= 1;
    backend.overwrite(file, pack);
    EXPECT_EQ(must(repository->blobs().load(handle)), content);
    BlobSource::Wanted wanted{handle, first};
    bool seen = false;
    must(repository->blobs().load_from_pack(first.pack, {&wanted, 1},
                                            [&](std::size_t, Result<ByteView> plain) -> Result<> {
                                                seen = plain.ok() && blob_id(*plain) == handle.id;
                                                return {};
                                            }));
    EXPECT_TRUE(seen);

    must(backend.remove(file));
    EXPECT_EQ(must(repository->blobs().load(handle)), content);
    for (const FileId& id : packs)
        if (id != file.id) must(backend.remove({FileType::pack, id}));
    auto lost = repository->blobs().load(handle);
    ASSERT_FALSE(lost.ok());
    EXPECT_EQ(lost.error().kind(), ErrorKind::corrupt);
    auto unknown = repository->blobs().load({BlobType::tree, handle.id});
    ASSERT_FALSE(unknown.ok());
    EXPECT_EQ(unknown.error().kind(), ErrorKind::not_found);
}

TEST(Repository, SkipsADamagedSnapshotAndReportsIt) {
    Fixture fixture("v2");
    FileId id{};
    must(fixture.backend.list(FileType::snapshot, [&](const FileInfo& info) { id = info.id; }));
    FileId other = id;
    other.bytes[0] ^= 1;
    fixture.backend.overwrite({FileType::snapshot, other},
                              must(fixture.backend.get({FileType::snapshot, id})));
    auto repository = must(fixture.open());
    std::vector<Error> broken;
    auto revisions = must(repository->list_revisions(&broken));
    EXPECT_EQ(revisions.size(), 1u);
    ASSERT_EQ(broken.size(), 1u);
    EXPECT_EQ(broken[0].kind(), ErrorKind::corrupt);
}

// Lists nothing of a type, as an unmounted disk or a store with delays does.
class ForgetfulBackend final : public Backend {
  public:
    explicit ForgetfulBackend(Backend& behind) : behind_(behind) {}
    bool hides = false;
    BackendProperties properties() const override { return behind_.properties(); }
    Result<> put(const Handle& handle, ByteView content) override {
        return behind_.put(handle, content);
    }
    Result<Bytes> get(const Handle& handle, ByteRange range) override {
        return behind_.get(handle, range);
    }
    Result<FileInfo> stat(const Handle& handle) override { return behind_.stat(handle); }
    Result<> list(FileType type, const std::function<void(const FileInfo&)>& each) override {
        return hides ? Result<>() : behind_.list(type, each);
    }
    Result<> remove_lock(const LockId& id) override { return behind_.remove_lock(id); }
    Result<> create() override { return behind_.create(); }

  private:
    Backend& behind_;
};

TEST(Repository, TakesNoShortListingForAnEmptyRepository) {
    Fixture fixture("v2-unusual");
    ForgetfulBackend forgetful(fixture.backend);
    auto repository =
        must(Repository::open(forgetful, as_bytes(fixture.password), {.clock = &fixture.clock}));
    must(repository->refresh_index({}));
    must(repository->list_revisions());
    forgetful.hides = true;
    EXPECT_FALSE(repository->refresh_index({}).ok());
    EXPECT_FALSE(repository->list_revisions().ok());
    forgetful.hides = false;
    must(repository->refresh_index({}));
    EXPECT_EQ(must(repository->list_revisions()).size(), 2u);
    std::size_t blobs = 0;
    repository->each_indexed([&](const BlobHandle&, const BlobLocation&) { ++blobs; });
    EXPECT_EQ(blobs, 8u);
}

// Writes an index file that lists these blobs for a pack.
FileId put_index(Repository& repository, Backend& backend, const PackId& pack,
                 std::span<const PackedBlob> blobs) {
    IndexEncoder encoder;
    encoder.add_pack(pack, blobs);
    UnpackedFile file = must(make_unpacked(repository.master_key(), 2, encoder.finish()));
    must(backend.put({FileType::index, file.id}, file.sealed));
    return file.id;
}

TEST(Repository, BelievesTheRepairedIndexOnceTheWrongOneIsGone) {
    StillClock clock;
    MemoryBackend backend;
    auto repository = make_repository(backend, clock);
    const PackedBlob real{BlobType::data, blob_id(text_blob(1)), 0, 100, 0};
    const PackedBlob ghost{BlobType::data, blob_id(text_blob(2)), 100, 100, 0};
    const PackId pack = retag<struct PackTag>(blob_id(text_blob(3)));
    const FileId wrong = put_index(*repository, backend, pack, std::vector{real, ghost});
    must(repository->refresh_index({}));
    EXPECT_TRUE(repository->blobs().contains({BlobType::data, ghost.id}));
    put_index(*repository, backend, pack, std::vector{real});
    must(backend.remove({FileType::index, wrong}));
    must(repository->refresh_index({}));
    EXPECT_TRUE(repository->blobs().contains({BlobType::data, real.id}));
    EXPECT_FALSE(repository->blobs().contains({BlobType::data, ghost.id}));
}

}  // namespace
}  // namespace backup
