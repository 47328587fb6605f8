#include "daemon/history/history_index.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "daemon/history/store.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/history/history_fixture.h"

namespace backup {
namespace {

using namespace history_test;
using ObjectPointer = std::shared_ptr<const Object>;

const LineName kLine{"repository", "host", "home", {}};

// What a person would write down.
struct Expected {
    bool deleted = false;
    char kind = 'f';
    std::uint64_t size = 0;
    std::uint32_t mode = 0;
    std::uint64_t first = 0, last = 0, revisions = 0;
    bool operator==(const Expected&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Expected& one) {
    return out << (one.deleted ? "deleted " : "") << one.kind << " size " << one.size << " mode "
               << std::oct << one.mode << std::dec << " " << one.first << ".." << one.last << " in "
               << one.revisions;
}

Expected seen(const PathVersion& version) {
    return {version.deleted,      version.version.kind, version.version.size, version.version.mode,
            version.first.number, version.last.number,  version.revisions};
}

ObjectPointer at(const ObjectPointer& root, const std::string& path) {
    ObjectPointer object = root;
    const Path parsed = Path::parse(path).value();
    for (std::string_view name : parsed.components()) {
        auto found = object->entries.find(std::string(name));
        if (found == object->entries.end()) return nullptr;
        object = found->second;
    }
    return object;
}

void list(const ObjectPointer& directory, const std::string& base, std::set<std::string>& paths) {
    for (const auto& [name, object] : directory->entries) {
        const std::string path = base + "/" + name;
        paths.insert(path);
        if (object->type == NodeType::dir) list(object, path, paths);
    }
}

bool same_object(const Object& a, const Object& b) {
    return a.type == b.type && a.mode == b.mode && a.size == b.size && a.modified == b.modified &&
           a.content == b.content && a.attribute == b.attribute;
}

// Everything at once and by comparing everything: newest first.
struct Known {
    std::uint64_t number;
    ObjectPointer root;
    bool hidden = false;
};
std::vector<Expected> naive(const std::vector<Known>& revisions, const std::string& path) {
    std::vector<Expected> versions;
    ObjectPointer before;
    for (const Known& one : revisions) {
        if (one.hidden) continue;
        const ObjectPointer now = at(one.root, path);
        if (!now && versions.empty()) continue;
        const bool goes_on =
            !versions.empty() && !now == !before && (!now || same_object(*now, *before));
        if (goes_on) {
            versions.back().last = one.number;
            ++versions.back().revisions;
        } else {
            const Object& shown = now ? *now : *before;
            const char kind = shown.type == NodeType::dir       ? 'd'
                              : shown.type == NodeType::symlink ? 'l'
                                                                : 'f';
            versions.push_back(
                {!now, kind, kind == 'f' ? shown.size : 0, shown.mode, one.number, one.number, 1});
        }
        before = now;
    }
    std::ranges::reverse(versions);
    return versions;
}

// Changes a tree here and there.
class Gardener {
  public:
    explicit Gardener(unsigned seed) : random_(seed) {}

    ObjectPointer grow(const ObjectPointer& from, int depth = 0) {
        auto made = std::make_shared<Object>(*from);
        const std::uint64_t steps = dice(depth == 0 ? 4 : 3);
        for (std::uint64_t i = 0; i < steps; ++i) change(*made, depth);
        return made;
    }
    std::uint64_t dice(std::uint64_t sides) { return random_() % sides; }

  private:
    void change(Object& directory, int depth) {
        // Neighbours in every order that bytes can have.
        static const std::vector<std::string> kNames = {"a",    "a.b", "ab", "a\x01", "b",
                                                        "\xff", "A",   "d",  "d-1"};
        const std::string& name = kNames[dice(kNames.size())];
        auto found = directory.entries.find(name);
        if (found == directory.entries.end() || dice(6) == 0) {
            directory.entries[name] = make(depth);
            return;
        }
        if (dice(5) == 0) {
            directory.entries.erase(found);
            return;
        }
        if (found->second->type == NodeType::dir && dice(4) != 0) {
            found->second = grow(found->second, depth + 1);
            return;
        }
        auto changed = std::make_shared<Object>(*found->second);
        switch (dice(4)) {
            case 0:
                changed->mode ^= 0100;
                break;
            case 1:
                changed->modified += 1;
                break;
            case 2:
                changed->attribute = std::to_string(dice(3));
                break;
            default:
                if (changed->type == NodeType::dir) break;
                changed->content = std::to_string(dice(1000));
                if (changed->type == NodeType::file) changed->size = 1 + dice(3);
        }
        found->second = std::move(changed);
    }
    ObjectPointer make(int depth) {
        auto made = std::make_shared<Object>();
        made->type = NodeType::file;
        if (depth < 4 && dice(3) == 0) made->type = NodeType::dir;
        if (dice(10) == 0) made->type = NodeType::symlink;
        if (made->type == NodeType::dir) {
            made->mode = 0755;
            *made = *grow(made, depth + 1);
        } else {
            made->content = std::to_string(dice(1000));
            made->size = made->type == NodeType::file ? 1 + dice(3) : 0;
        }
        return made;
    }
    std::mt19937_64 random_;
};

std::vector<LineRevision> line_of(const std::vector<Known>& revisions, Trees& trees) {
    std::vector<LineRevision> line;
    for (const Known& one : revisions) {
        line.push_back(revision(one.number, trees.add(*one.root)));
        line.back().hidden = one.hidden;
    }
    return line;
}

std::string words(const std::vector<Known>& revisions, const std::string& path) {
    std::string text;
    for (const Known& one : revisions)
        text += " " + std::to_string(one.number) + (one.hidden ? "(hidden)" : "") +
                (at(one.root, path) ? "+" : "-");
    return text;
}

void expect_all(HistoryIndex& index, const std::vector<Known>& revisions,
                const std::set<std::string>& paths) {
    std::map<std::string, Expected> newest;
    for (const std::string& path : paths) {
        std::vector<Expected> got;
        auto versions = index.versions(kLine, Path::parse(path).value());
        if (versions.ok()) {
            for (const PathVersion& version : *versions) got.push_back(seen(version));
        } else {
            ASSERT_EQ(versions.error().code(), ErrorCode::no_such_path)
                << versions.error().message();
        }
        const auto expected = naive(revisions, path);
        ASSERT_EQ(got, expected) << printable(path) << words(revisions, path);
        if (expected.empty()) continue;
        newest[path] = expected[expected.front().deleted ? 1 : 0];
    }
    std::map<std::string, Expected> found;
    HistoryQuery all;
    all.wants = [](std::string_view, bool, const auto&) { return true; };
    auto done = index.find(kLine, all,
                           [&](const FoundPath& one) -> Result<> {
                               found[one.path] = seen(one.version);
                               EXPECT_EQ(one.deleted, naive(revisions, one.path).front().deleted);
                               return {};
                           },
                           {});
    ASSERT_TRUE(done.ok()) << done.error().message();
    ASSERT_EQ(found, newest);
}

TEST(HistoryIndex, AgreesWithComparingAllRevisionsByHand) {
    for (unsigned seed = 1; seed <= 12; ++seed) {
        SCOPED_TRACE(seed);
        TempDirectory folder;
        HistoryIndex index(folder.path() + "/history");
        Trees trees;
        Gardener gardener(seed);
        ObjectPointer root = std::make_shared<Object>();
        std::vector<Known> revisions;
        std::set<std::string> paths;
        for (std::uint64_t number = 1; number <= 40; ++number) {
            root = gardener.grow(root);
            list(root, "", paths);
            revisions.push_back({number, root});
            if (gardener.dice(3) == 0) continue;  // several at once
            if (gardener.dice(4) == 0) {
                Known& one = revisions[gardener.dice(revisions.size())];
                one.hidden = !one.hidden;
            }
            auto fed = index.update(kLine, line_of(revisions, trees), trees, {});
            ASSERT_TRUE(fed.ok()) << fed.error().message();
            EXPECT_FALSE(fed->rebuilt);
            expect_all(index, revisions, paths);
            if (gardener.dice(4) == 0 && revisions.size() > 2)
                revisions.erase(revisions.begin() +
                                static_cast<std::ptrdiff_t>(gardener.dice(revisions.size())));
            if (gardener.dice(5) == 0) index.rest();
            if (HasFatalFailure()) return;
        }
    }
}

TEST(HistoryIndex, ShowsWholeRevisionsOnlyAndGoesOnWhereverFeedingStopped) {
    for (unsigned seed = 1; seed <= 40; ++seed) {
        SCOPED_TRACE(seed);
        TempDirectory folder;
        std::stop_source stop;
        std::uint64_t batches_left = 0;
        // Every record is a batch; the stop takes effect before the next one, as a kill would.
        HistoryIndex index(folder.path() + "/history", {.batch_bytes = 0, .after_batch = [&] {
                                                            if (--batches_left == 0)
                                                                stop.request_stop();
                                                        }});
        Trees trees;
        Gardener gardener(seed);
        ObjectPointer root = std::make_shared<Object>();
        std::vector<Known> fed, revisions;
        std::set<std::string> paths;
        for (std::uint64_t number = 1; number <= 25; ++number) {
            root = gardener.grow(root);
            list(root, "", paths);
            revisions.push_back({number, root});
            // Sometimes the one before comes back.
            if (gardener.dice(5) == 0 && revisions.size() > 1)
                root = revisions[revisions.size() - 2].root;
            const auto line = line_of(revisions, trees);
            stop = std::stop_source();
            batches_left = 1 + gardener.dice(30);
            auto done = index.update(kLine, line, trees, stop.get_token());
            if (!done.ok()) {
                ASSERT_EQ(done.error().kind(), ErrorKind::cancelled) << done.error().message();
                expect_all(index, fed, paths);
                if (HasFatalFailure()) return;
                // The revision may be gone before it could be fed: the next one finds its traces.
                if (gardener.dice(3) == 0) {
                    revisions = fed;
                    continue;
                }
                batches_left = UINT64_MAX;
                auto resumed = index.update(kLine, line, trees, {});
                ASSERT_TRUE(resumed.ok()) << resumed.error().message();
            }
            fed = revisions;
            expect_all(index, fed, paths);
            if (HasFatalFailure()) return;
        }
    }
}

TEST(HistoryIndex, ReadsOnlyDirectoriesThatChanged) {
    TempDirectory folder;
    HistoryIndex index(folder.path() + "/history");
    Trees trees;
    auto root = std::make_shared<Object>();
    for (int i = 0; i < 30; ++i) {
        auto directory = std::make_shared<Object>();
        directory->type = NodeType::dir;
        directory->entries["file"] = std::make_shared<Object>();
        root->entries["d" + std::to_string(i)] = directory;
    }
    std::vector<Known> revisions = {{1, std::make_shared<Object>(*root)}};
    ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
    EXPECT_EQ(trees.loads, 31u);
    auto changed = std::make_shared<Object>(*root->entries["d7"]);
    changed->entries["new"] = std::make_shared<Object>();
    root->entries["d7"] = changed;
    revisions.push_back({2, std::make_shared<Object>(*root)});
    trees.loads = 0;
    ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
    EXPECT_EQ(trees.loads, 2u);
    trees.loads = 0;
    ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
    EXPECT_EQ(trees.loads, 0u);
}

// What is the same in all tests of damage: two revisions, the second without "/gone".
struct TwoRevisions {
    TwoRevisions() {
        auto first = std::make_shared<Object>(), second = std::make_shared<Object>();
        first->entries["gone"] = first->entries["kept"] = second->entries["kept"] =
            std::make_shared<Object>();
        revisions = {{1, first}, {2, second}};
        list(first, "", paths);
    }
    void feed(HistoryIndex& index) {
        auto fed = index.update(kLine, line_of(revisions, trees), trees, {});
        ASSERT_TRUE(fed.ok()) << fed.error().message();
    }
    Trees trees;
    std::vector<Known> revisions;
    std::set<std::string> paths;
};

TEST(HistoryIndex, IsMadeAnewWhenItsFilesAreDamaged) {
    TempDirectory folder;
    const std::string place = folder.path() + "/history";
    TwoRevisions two;
    {
        HistoryIndex index(place);
        two.feed(index);
    }
    for (const char* name : {"CURRENT", "MANIFEST", ".log"}) {
        SCOPED_TRACE(name);
        for (const auto& file : std::filesystem::directory_iterator(place)) {
            const std::string found = file.path().filename().string();
            if (found.starts_with(name) || found.ends_with(name))
                std::ofstream(file.path(), std::ios::trunc) << "nonsense that is long enough";
        }
        HistoryIndex index(place);
        (void)index.status(kLine);
        two.feed(index);
        expect_all(index, two.revisions, two.paths);
    }
}

TEST(HistoryIndex, IsMadeAnewWhenItIsOfAnotherVersion) {
    TempDirectory folder;
    const std::string place = folder.path() + "/history";
    TwoRevisions two;
    {
        auto store = HistoryStore::open(place);
        ASSERT_TRUE(store.ok());
        HistoryStore::Batch batch;
        batch.put("V", "another");
        batch.put("l" + kLine.key(), "what this version does not know");
        ASSERT_TRUE((*store)->write(batch).ok());
    }
    HistoryIndex index(place);
    ASSERT_TRUE(index.status(kLine).ok());
    EXPECT_FALSE(index.status(kLine)->has_value());
    two.feed(index);
    expect_all(index, two.revisions, two.paths);
}

TEST(HistoryIndex, ARecordThatMakesNoSenseCostsTheIndexAndNothingElse) {
    TempDirectory folder;
    const std::string place = folder.path() + "/history";
    TwoRevisions two;
    {
        HistoryIndex index(place);
        two.feed(index);
    }
    {
        auto store = HistoryStore::open(place);
        ASSERT_TRUE(store.ok());
        HistoryStore::Batch batch;
        batch.put(history::name_key(1, history::kRoot, "kept"), "x");
        ASSERT_TRUE((*store)->write(batch).ok());
    }
    HistoryIndex index(place);
    auto versions = index.versions(kLine, Path::parse("/kept").value());
    ASSERT_FALSE(versions.ok());
    EXPECT_EQ(versions.error().kind(), ErrorKind::transient);
    two.feed(index);
    expect_all(index, two.revisions, two.paths);
}

TEST(HistoryIndex, ARevisionThatComesInBetweenBeginsTheLineAnew) {
    TempDirectory folder;
    HistoryIndex index(folder.path() + "/history");
    TwoRevisions two;
    two.revisions[1].number = 3;
    two.feed(index);
    two.revisions.insert(two.revisions.begin() + 1, {2, two.revisions[1].root});
    auto fed = index.update(kLine, line_of(two.revisions, two.trees), two.trees, {});
    ASSERT_TRUE(fed.ok());
    EXPECT_TRUE(fed->rebuilt);
    expect_all(index, two.revisions, two.paths);
}

TEST(HistoryIndex, RevisionsOfOneTimeAreFedOnceEach) {
    TempDirectory folder;
    HistoryIndex index(folder.path() + "/history");
    TwoRevisions two;
    auto line = line_of(two.revisions, two.trees);
    ASSERT_EQ(line.size(), 2u);
    line[1].number = line[0].number;
    line[1].time = line[0].time;
    line.push_back(line[1]);  // another edition, by another program
    ASSERT_TRUE(index.update(kLine, line, two.trees, {}).ok());
    EXPECT_EQ(index.status(kLine).value()->revisions, 2u);
    auto again = index.update(kLine, line, two.trees, {});
    ASSERT_TRUE(again.ok());
    EXPECT_FALSE(again->rebuilt);
    EXPECT_EQ(again->revisions_fed, 0u);
    line.resize(1);
    ASSERT_TRUE(index.update(kLine, line, two.trees, {}).ok());
    EXPECT_EQ(index.status(kLine).value()->revisions, 1u);
}

TEST(HistoryIndex, ADirectoryThatWasRepairedIsReadWithTheNextRevision) {
    TempDirectory folder;
    HistoryIndex index(folder.path() + "/history");
    Trees trees;
    auto deep = std::make_shared<Object>();
    deep->type = NodeType::dir;
    deep->entries["file"] = std::make_shared<Object>();
    auto directory = std::make_shared<Object>();
    directory->type = NodeType::dir;
    directory->entries["deep"] = deep;
    auto root = std::make_shared<Object>();
    root->entries["d"] = directory;
    std::vector<Known> revisions = {{1, root}, {2, root}, {3, root}};
    auto line = line_of(revisions, trees);
    trees.forget(trees.add(*deep));
    auto first = line;
    first.resize(1);
    EXPECT_EQ(index.update(kLine, first, trees, {})->damaged_directories, 1u);
    EXPECT_FALSE(index.versions(kLine, Path::parse("/d/deep/file").value()).ok());
    trees.add(*deep);
    first = line;
    first.resize(2);
    EXPECT_EQ(index.update(kLine, first, trees, {})->damaged_directories, 0u);
    auto file = index.versions(kLine, Path::parse("/d/deep/file").value());
    ASSERT_TRUE(file.ok());
    EXPECT_FALSE(file->front().deleted);
    trees.loads = 0;
    ASSERT_TRUE(index.update(kLine, line, trees, {}).ok());
    EXPECT_EQ(trees.loads, 0u);
}

TEST(HistoryIndex, ADamagedDirectoryKeepsWhatItHadAndCostsNoOther) {
    TempDirectory folder;
    HistoryIndex index(folder.path() + "/history");
    Trees trees;
    auto directory = std::make_shared<Object>();
    directory->type = NodeType::dir;
    directory->entries["file"] = std::make_shared<Object>();
    auto root = std::make_shared<Object>();
    root->entries["d"] = directory;
    std::vector<Known> revisions = {{1, std::make_shared<Object>(*root)}};
    ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
    auto changed = std::make_shared<Object>(*directory);
    changed->entries["more"] = std::make_shared<Object>();
    root->entries["d"] = changed;
    root->entries["beside"] = std::make_shared<Object>();
    revisions.push_back({2, std::make_shared<Object>(*root)});
    auto line = line_of(revisions, trees);
    trees.forget(trees.add(*changed));
    auto fed = index.update(kLine, line, trees, {});
    ASSERT_TRUE(fed.ok()) << fed.error().message();
    EXPECT_EQ(fed->damaged_directories, 1u);
    EXPECT_TRUE(index.versions(kLine, Path::parse("/beside").value()).ok());
    auto file = index.versions(kLine, Path::parse("/d/file").value());
    ASSERT_TRUE(file.ok());
    EXPECT_FALSE(file->front().deleted);
}

TEST(HistoryIndex, SweepsWhatNoRevisionHasAnyMore) {
    TempDirectory folder;
    HistoryIndex index(folder.path() + "/history");
    Trees trees;
    std::vector<Known> revisions;
    std::set<std::string> paths;
    for (std::uint64_t number = 1; number <= 100; ++number) {
        auto root = std::make_shared<Object>();
        root->entries["changes"] =
            std::make_shared<Object>(Object{.size = number, .content = std::to_string(number)});
        root->entries["only-" + std::to_string(number)] = std::make_shared<Object>();
        list(root, "", paths);
        revisions.push_back({number, root});
    }
    ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
    revisions.erase(revisions.begin() + 2, revisions.begin() + 90);
    ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
    expect_all(index, revisions, paths);
    std::uint64_t names = 0;
    HistoryQuery query;
    query.wants = [&](std::string_view, bool, const auto&) { return ++names, false; };
    ASSERT_TRUE(index.find(kLine, query, [](const FoundPath&) -> Result<> { return {}; }, {}).ok());
    EXPECT_EQ(names, 13u);
}

TEST(HistoryIndex, DirectoriesThatNoRevisionHasAreSweptWithAllBelow) {
    TempDirectory folder;
    const std::string place = folder.path() + "/history";
    Trees trees;
    std::vector<Known> revisions;
    std::set<std::string> paths;
    {
        HistoryIndex index(place);
        for (std::uint64_t number = 1; number <= 100; ++number) {
            auto deep = std::make_shared<Object>();
            deep->type = NodeType::dir;
            deep->entries["file"] = std::make_shared<Object>();
            auto build = std::make_shared<Object>();
            build->type = NodeType::dir;
            build->entries["deep"] = deep;
            auto root = std::make_shared<Object>();
            root->entries["build-" + std::to_string(number)] = build;
            list(root, "", paths);
            revisions.push_back({number, root});
        }
        ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
        revisions.erase(revisions.begin(), revisions.begin() + 90);
        ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
        expect_all(index, revisions, paths);
    }
    auto store = HistoryStore::open(place);
    ASSERT_TRUE(store.ok());
    HistoryStore::View view(**store);
    for (auto [kind, most] : {std::pair{'d', 21u}, std::pair{'n', 30u}}) {
        std::size_t count = 0;
        for (auto cursor = view.cursor(std::string(1, kind)); cursor.valid(); cursor.next())
            ++count;
        EXPECT_EQ(count, most) << kind;
    }
}

TEST(HistoryIndex, AgreesWithComparingByHandAfterSweeping) {
    for (unsigned seed = 1; seed <= 8; ++seed) {
        TempDirectory folder;
        HistoryIndex index(folder.path() + "/history");
        Trees trees;
        Gardener gardener(seed);
        std::vector<Known> revisions;
        std::set<std::string> paths;
        ObjectPointer root = std::make_shared<Object>();
        std::uint64_t number = 0;
        for (int round = 0; round < 3; ++round) {
            for (int i = 0; i < 100; ++i) {
                root = gardener.grow(root);
                list(root, "", paths);
                revisions.push_back({++number, root});
            }
            ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
            std::erase_if(revisions, [&](const Known&) { return gardener.dice(10) != 0; });
            auto swept = index.update(kLine, line_of(revisions, trees), trees, {});
            ASSERT_TRUE(swept.ok()) << swept.error().message();
            EXPECT_FALSE(swept->rebuilt);
            expect_all(index, revisions, paths);
            if (HasFatalFailure()) FAIL() << "seed " << seed;
        }
    }
}

TEST(HistoryIndex, FindsByTimeByPlaceAndWhatWasDeleted) {
    TempDirectory folder;
    HistoryIndex index(folder.path() + "/history");
    Trees trees;
    const auto file = [](std::uint64_t size) {
        return std::make_shared<Object>(Object{.size = size, .content = std::to_string(size)});
    };
    const auto tree = [&](std::map<std::string, ObjectPointer> in_d,
                          std::map<std::string, ObjectPointer> at_root) {
        auto directory = std::make_shared<Object>();
        directory->type = NodeType::dir;
        directory->entries = std::move(in_d);
        auto root = std::make_shared<Object>();
        root->entries = std::move(at_root);
        root->entries["d"] = directory;
        return root;
    };
    std::vector<Known> revisions = {{1, tree({{"old", file(1)}, {"same", file(1)}}, {})},
                                    {2, tree({{"same", file(1)}}, {{"top", file(1)}})},
                                    {3, tree({{"same", file(2)}}, {{"top", file(1)}})}};
    ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
    const auto find = [&](HistoryQuery query) {
        query.wants = [](std::string_view, bool, const auto&) { return true; };
        std::map<std::string, std::uint64_t> found;  // path: revision
        auto done = index.find(kLine, query,
                               [&](const FoundPath& one) -> Result<> {
                                   found[(one.deleted ? "-" : "") + one.path] =
                                       one.version.last.number;
                                   return {};
                               },
                               {});
        EXPECT_TRUE(done.ok());
        return found;
    };
    using Found = std::map<std::string, std::uint64_t>;
    const auto time = [](std::uint64_t number) { return revision(number, {}).time; };
    EXPECT_EQ(find({}), (Found{{"/d", 3}, {"-/d/old", 1}, {"/d/same", 3}, {"/top", 3}}));
    EXPECT_EQ(find({.at = time(1)}), (Found{{"/d", 3}, {"/d/old", 1}, {"/d/same", 2}}));
    EXPECT_EQ(find({.at = time(1) - Duration(1)}), Found());
    EXPECT_EQ(find({.since = time(2)}), (Found{{"-/d/old", 1}, {"/d/same", 3}, {"/top", 3}}));
    EXPECT_EQ(find({.since = time(3)}), (Found{{"/d/same", 3}}));
    const Path d = Path::parse("/d").value();
    EXPECT_EQ(find({.below = d}), (Found{{"-/d/old", 1}, {"/d/same", 3}}));
    EXPECT_EQ(find({.below = d, .deleted_only = true}), (Found{{"-/d/old", 1}}));
    EXPECT_EQ(find({.below = Path(), .entries_only = true}), (Found{{"/d", 3}, {"/top", 3}}));
}

TEST(HistoryIndex, TellsWhatChanged) {
    TempDirectory folder;
    HistoryIndex index(folder.path() + "/history");
    Trees trees;
    std::vector<Known> revisions;
    const auto add = [&](const Object* object) {
        auto root = std::make_shared<Object>();
        if (object != nullptr) root->entries["x"] = std::make_shared<Object>(*object);
        revisions.push_back({revisions.size() + 1, root});
    };
    Object object{.size = 3, .content = "one"};
    add(&object);
    object.mode = 0600;
    add(&object);
    object.content = "two";
    add(&object);
    add(nullptr);
    add(&object);
    Object link{.type = NodeType::symlink, .content = "target"};
    add(&link);
    ASSERT_TRUE(index.update(kLine, line_of(revisions, trees), trees, {}).ok());
    auto versions = index.versions(kLine, Path::parse("/x").value());
    ASSERT_TRUE(versions.ok());
    std::vector<std::string> changes;
    for (const PathVersion& version : *versions) changes.emplace_back(version.change);
    EXPECT_EQ(changes, (std::vector<std::string>{"kind", "created", "deleted", "content",
                                                 "metadata", "created"}));
}

TEST(HistoryIndex, LinesDoNotSeeEachOtherAndCanBeDropped) {
    TempDirectory folder;
    HistoryIndex index(folder.path() + "/history");
    TwoRevisions two;
    two.feed(index);
    LineName other = kLine;
    other.host = "elsewhere";
    auto line = line_of(two.revisions, two.trees);
    line.resize(1);
    ASSERT_TRUE(index.update(other, line, two.trees, {}).ok());
    EXPECT_EQ(index.lines().size(), 2u);
    EXPECT_FALSE(index.versions(other, Path::parse("/gone").value())->front().deleted);
    ASSERT_TRUE(index.drop(other).ok());
    EXPECT_EQ(index.lines().size(), 1u);
    EXPECT_FALSE(index.versions(other, Path::parse("/gone").value()).ok());
    expect_all(index, two.revisions, two.paths);
}

}  // namespace
}  // namespace backup
