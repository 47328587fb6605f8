// The local copy of the index, as an open repository uses it.
#include <fstream>

#include "daemon/repository/index_file.h"
#include "daemon/repository/unpacked.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/repository/engine_fixture.h"

namespace backup {
namespace {

class IndexCopies : public testing::Test {
  protected:
    void SetUp() override { make_repository(backend_, clock_); }

    std::unique_ptr<Repository> open() {
        RepositoryOptions options{.clock = &clock_};
        options.index_folder = folder();
        options.always_copy_index = true;
        return must(Repository::open(backend_, quick_password(), options));
    }
    std::string folder() const { return directory_.path() + "/index"; }
    std::string copy() const {
        for (const auto& entry : std::filesystem::directory_iterator(folder())) return entry.path();
        return {};
    }
    // Saves these blobs and a tree with them, names them in an index file of their own.
    void save(Repository& repository, int first, int last) {
        auto session = must(repository.start_write({}, {}));
        for (int i = first; i <= last; ++i) must(session->save(BlobType::data, text_blob(i)));
        must(session->checkpoint());
    }
    bool knows(Repository& repository, int number) {
        return repository.blobs().contains({BlobType::data, blob_id(text_blob(number))});
    }
    std::vector<FileId> index_files() {
        std::vector<FileId> files;
        must(backend_.list(FileType::index,
                           [&](const FileInfo& info) { files.push_back(info.id); }));
        return files;
    }
    // From now on they can be listed, and not be loaded.
    void spoil_index_files() {
        for (const FileId& id : index_files()) backend_.overwrite({FileType::index, id}, Bytes(50));
    }

    TempDirectory directory_{TempDirectory::Where::memory};
    StillClock clock_;
    MemoryBackend backend_;
};

TEST_F(IndexCopies, SaveTheNextStartFromLoadingTheIndex) {
    save(*open(), 1, 50);
    spoil_index_files();
    auto repository = open();
    must(repository->refresh_index({}));
    for (int i = 1; i <= 50; ++i) {
        ASSERT_TRUE(knows(*repository, i));
        ASSERT_EQ(must(repository->blobs().load({BlobType::data, blob_id(text_blob(i))})),
                  text_blob(i));
    }
    // Without the copy they are missed.
    repository.reset();
    std::filesystem::remove_all(folder());
    auto refreshed = open()->refresh_index({});
    ASSERT_FALSE(refreshed.ok());
    EXPECT_EQ(refreshed.error().kind(), ErrorKind::corrupt);
}

TEST_F(IndexCopies, ThatAreDamagedAreMadeAnew) {
    save(*open(), 1, 50);
    const auto good = std::filesystem::file_size(copy());
    std::filesystem::resize_file(copy(), good - 10);
    {
        auto repository = open();
        must(repository->refresh_index({}));
        EXPECT_TRUE(knows(*repository, 17));
    }
    EXPECT_EQ(std::filesystem::file_size(copy()), good);
    spoil_index_files();
    must(open()->refresh_index({}));
}

TEST_F(IndexCopies, NewerIndexFilesAreLoadedBesideThem) {
    save(*open(), 1, 10);
    auto elsewhere = open_repository(backend_, clock_);
    save(*elsewhere, 11, 20);
    auto repository = open();
    must(repository->refresh_index({}));
    for (int i = 1; i <= 20; ++i) ASSERT_TRUE(knows(*repository, i)) << i;
    save(*elsewhere, 21, 30);
    must(repository->refresh_index({}));
    for (int i = 1; i <= 30; ++i) ASSERT_TRUE(knows(*repository, i)) << i;
}

TEST_F(IndexCopies, WhatVanishedSinceIsForgotten) {
    save(*open(), 1, 10);
    const std::vector<FileId> before = index_files();
    save(*open(), 11, 20);
    // Somebody else prunes while we are away.
    for (const FileId& id : before) must(backend_.remove({FileType::index, id}));
    auto repository = open();
    must(repository->refresh_index({}));
    for (int i = 1; i <= 20; ++i) ASSERT_EQ(knows(*repository, i), i > 10) << i;
    save(*repository, 1, 10);
    repository = nullptr;
    repository = open();
    must(repository->refresh_index({}));
    for (int i = 1; i <= 20; ++i) ASSERT_TRUE(knows(*repository, i)) << i;
}

TEST_F(IndexCopies, OfAnEarlierStateLeadToTheSameIndex) {
    save(*open(), 1, 10);
    std::filesystem::copy(copy(), directory_.path() + "/old");
    const std::vector<FileId> before = index_files();
    save(*open(), 11, 20);
    for (const FileId& id : before) must(backend_.remove({FileType::index, id}));
    { must(open()->refresh_index({})); }
    const std::string place = copy();
    std::filesystem::rename(directory_.path() + "/old", place);
    auto repository = open();
    must(repository->refresh_index({}));
    for (int i = 1; i <= 20; ++i) ASSERT_EQ(knows(*repository, i), i > 10) << i;
}

TEST_F(IndexCopies, LeadToAConflictWhenWhatARunReliesOnVanishes) {
    save(*open(), 1, 10);
    auto repository = open();
    auto session = must(repository->start_write({}, {}));
    EXPECT_FALSE(must(session->save(BlobType::data, text_blob(5))).is_new);
    repository->rest();
    std::vector<LockId> locks;
    must(backend_.list(FileType::lock,
                       [&](const FileInfo& info) { locks.push_back(id_cast<LockId>(info.id)); }));
    for (const LockId& id : locks) must(backend_.remove_lock(id));
    for (const FileId& id : index_files()) must(backend_.remove({FileType::index, id}));
    auto committed =
        session->commit(snapshot_of(must(session->save(BlobType::tree, empty_tree())).id));
    ASSERT_FALSE(committed.ok());
    EXPECT_EQ(committed.error().kind(), ErrorKind::conflict);
}

TEST_F(IndexCopies, ArePassedOverForPacksThatIndexFilesDisagreeAbout) {
    auto repository = open();
    const PackedBlob real{BlobType::data, blob_id(text_blob(1)), 0, 100, 0};
    const PackedBlob ghost{BlobType::data, blob_id(text_blob(2)), 100, 100, 0};
    const PackId pack = retag<struct PackTag>(blob_id(text_blob(3)));
    auto put_index = [&](const std::vector<PackedBlob>& blobs) {
        IndexEncoder encoder;
        encoder.add_pack(pack, blobs);
        UnpackedFile file = must(make_unpacked(repository->master_key(), 2, encoder.finish()));
        must(backend_.put({FileType::index, file.id}, file.sealed));
        return file.id;
    };
    const FileId wrong = put_index({real, ghost});
    must(repository->refresh_index({}));
    repository = nullptr;
    repository = open();
    // The repair comes while the copy knows the wrong one only.
    put_index({real});
    must(repository->refresh_index({}));
    EXPECT_TRUE(knows(*repository, 2));
    repository = nullptr;
    repository = open();
    must(backend_.remove({FileType::index, wrong}));
    must(repository->refresh_index({}));
    EXPECT_TRUE(knows(*repository, 1));
    EXPECT_FALSE(knows(*repository, 2));
}

TEST_F(IndexCopies, ThatCannotBeWrittenAreDoneWithout) {
    std::ofstream(folder()) << "a file where the folder should be";
    auto repository = open();
    save(*repository, 1, 10);
    repository->rest();
    for (int i = 1; i <= 10; ++i) ASSERT_TRUE(knows(*repository, i));
}

TEST_F(IndexCopies, OfSmallRepositoriesAreNotKept) {
    RepositoryOptions options{.clock = &clock_};
    options.index_folder = folder();
    {
        auto repository = must(Repository::open(backend_, quick_password(), options));
        save(*repository, 1, 100);
        repository->rest();
    }
    EXPECT_FALSE(std::filesystem::exists(folder()));
    {
        auto repository = must(Repository::open(backend_, quick_password(), options));
        save(*repository, 101, 6000);
        repository->rest();
    }
    EXPECT_TRUE(std::filesystem::exists(folder()));
    spoil_index_files();
    auto repository = must(Repository::open(backend_, quick_password(), options));
    must(repository->refresh_index({}));
    EXPECT_TRUE(knows(*repository, 5000));
}

}  // namespace
}  // namespace backup
