// What passes between the daemon and a writer process: frames, the order, and blobs that only who
// was shown them gets.
#include <array>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/writer/blob_service.h"
#include "daemon/writer/order.h"
#include "daemon/writer/serve.h"
#include "daemon/writer/writer_process.h"
#include "tests/unit/restore/revision_maker.h"

namespace backup::writer {
namespace {

const NamedCaller kAlice{1001, "alice", {{1001, "alice"}}};

TEST(Frames, WhatIsPackedComesOutAgain) {
    Packer packer;
    packer.number(0).number(UINT64_MAX).flag(true).text({"a\0b", 3}).texts({"", "x"});
    packer.outcome({}).outcome(Error(ErrorKind::denied, ErrorCode::access_denied, "not yours"));
    Unpacker from(packer.data());
    EXPECT_EQ(from.number(), 0u);
    EXPECT_EQ(from.number(), UINT64_MAX);
    EXPECT_TRUE(from.flag());
    EXPECT_EQ(from.text(), std::string("a\0b", 3));
    EXPECT_EQ(from.texts(), (std::vector<std::string>{"", "x"}));
    EXPECT_TRUE(from.outcome().ok());
    const Result<> denied = from.outcome();
    ASSERT_FALSE(denied.ok());
    EXPECT_EQ(denied.error().code(), ErrorCode::access_denied);
    EXPECT_EQ(denied.error().message(), "not yours");
    EXPECT_TRUE(from.finish().ok());
}

TEST(Frames, EveryCutOfAPayloadIsNoticed) {
    Order order;
    order.named = kAlice;
    order.request.paths = {"/home/alice/x", "/y"};
    order.snapshot.paths = {"/home"};
    Selected root;
    root.parent_path = "/";
    root.node.type = NodeType::dir;
    root.node.subtree = BlobId{};
    order.selected.push_back(root);
    const std::string whole = pack_order(order).value();
    EXPECT_TRUE(unpack_order(whole).ok());
    for (std::size_t length = 0; length < whole.size(); ++length)
        EXPECT_FALSE(unpack_order(std::string_view(whole).substr(0, length)).ok()) << length;
    EXPECT_FALSE(unpack_order(whole + '\0').ok());
}

TEST(Frames, CountsThatCannotBeAreNoMemory) {
    Packer packer;
    packer.number(UINT64_MAX / 2);
    Unpacker texts(packer.data());
    EXPECT_TRUE(texts.texts().empty());
    EXPECT_FALSE(texts.good());
    EXPECT_FALSE(unpack_touched(packer.data()).ok());
    EXPECT_FALSE(unpack_result(packer.data()).ok());
}

TEST(Channel, CarriesDescriptorsAndLargePayloads) {
    auto [one, other] = socket_pair().value();
    Channel from(std::move(one)), to(std::move(other));
    const std::string payload(5 << 20, 'x');
    UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    std::thread sender([&] { EXPECT_TRUE(from.send(7, payload, {null.get()}).ok()); });
    auto frame = to.receive();
    sender.join();
    ASSERT_TRUE(frame.ok() && *frame);
    EXPECT_EQ((*frame)->kind, 7);
    EXPECT_EQ((*frame)->payload, payload);
    ASSERT_EQ((*frame)->descriptors.size(), 1u);
    EXPECT_EQ(::fcntl((*frame)->descriptors[0].get(), F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(to.receive(1).error().kind(), ErrorKind::transient);
    from.shut_down();
    auto end = to.receive();
    EXPECT_TRUE(end.ok() && !*end) << "a conversation ends between frames";
}

TEST(Channel, AFrameThatIsCutOffOrTooLongIsAnError) {
    for (const std::string& bytes :
         {std::string("\5\0\0\0\0\0\0\0\1abc", 12),
          std::string("\377\377\377\377\377\377\377\177\1", 9), std::string("\5\0", 2)}) {
        auto [one, other] = socket_pair().value();
        ASSERT_EQ(::write(one.get(), bytes.data(), bytes.size()),
                  static_cast<ssize_t>(bytes.size()));
        one.reset();
        EXPECT_FALSE(Channel(std::move(other)).receive().ok());
    }
}

TEST(Channel, AFrameThatDoesNotGoOnIsAnError) {
    auto [one, other] = socket_pair().value();
    Channel channel(std::move(other));
    channel.set_patience(std::chrono::milliseconds(20));
    ASSERT_EQ(::write(one.get(), "\5\0\0\0\0\0\0\0\1abc", 12), 12);
    EXPECT_FALSE(channel.receive().ok());
    EXPECT_FALSE(channel.send(1, std::string(8 << 20, 'x')).ok()) << "nobody reads";
}

TEST(Writer, OneThatIsStoppedDoesNotHoldTheDaemon) {
    RevisionMaker maker;
    const RevisionId revision = maker.commit({maker.file("letter", "dear bob")});
    char folder[] = "/tmp/backupd-writer-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    const std::string program = std::string(folder) + "/stopped",
                      written = folder + std::string("/pid");
    {
        std::ofstream script(program);
        script << "#!/bin/sh\necho $$ > " << written << "\nkill -STOP $$\n";
    }
    ASSERT_EQ(::chmod(program.c_str(), 0755), 0);
    UniqueFd target(::open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    RestoreRequest request;
    request.revision = revision;
    request.target_fd = target.get();
    Progress progress;
    ExceptionLog exceptions(progress);
    const auto result = run_restore_as({.uid = 1001, .gids = {}, .sees_all = false}, Rights::caller,
                                       program, request, maker.repository(), progress, exceptions,
                                       {}, std::chrono::seconds(1));
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().message(), "the process that writes was stopped");
    pid_t pid = 0;
    std::ifstream(written) >> pid;
    ASSERT_NE(pid, 0);
    EXPECT_EQ(::kill(pid, 0), -1) << "it is gone";
    std::filesystem::remove_all(folder);
}

// A person is sent to a writer, which answers before it has looked at any order.
std::string answer_to(const Person& person, bool keeps_rights) {
    auto [one, other] = socket_pair().value();
    Channel daemon(std::move(one));
    EXPECT_TRUE(daemon.send(static_cast<std::uint8_t>(Word::person), pack_person(person)).ok());
    EXPECT_FALSE(serve(std::move(other), keeps_rights).ok());
    auto frame = daemon.receive(0);
    if (!frame.ok() || !*frame) return "nothing";
    return unpack_result((*frame)->payload).error().message();
}

TEST(Writer, OneThatGivesUpItsRightsKeepsThemForNobodyAndTheOtherWayRound) {
    EXPECT_EQ(answer_to({{0, {}, true}, 0, true}, false), "this writer was not started for that");
    EXPECT_EQ(answer_to({{1001, {}}, 1001, false}, true), "this writer was not started for that");
    EXPECT_EQ(answer_to({{0, {}, true}, 0, false}, false),
              "this writer writes for people other than root only");
}

TEST(Grants, WhoSeesAllMayHaveWhatWasNeverShown) {
    const AccessRule all, hers(kAlice);
    EXPECT_TRUE(Grants(all).may_have({BlobType::data, BlobId{}}));
    EXPECT_FALSE(Grants(hers).may_have({BlobType::data, BlobId{}}));
}

TEST(Order, ComesOutAsItWent) {
    RevisionMaker maker;
    Order order;
    order.named = {1001, "alice", {{50, "staff"}, {1001, "alice"}}};
    order.request.paths = {"/d"};
    order.request.on_conflict = ConflictMode::newer;
    order.request.full_paths = order.request.verify = order.request.delete_others = true;
    order.request.longest_kept = 99;
    order.request.only_remove = true;
    order.request.remove = {{"/d/x", false}, {"/d", true}};
    order.request.unchanged_since = from_usec(1'600'000'000'000'001);
    order.request.mtimes = {{"/d", {-7, 999'999'999}}};
    order.has_protect = order.has_alters = order.sees_all = true;
    order.snapshot.time = from_usec(1'700'000'000'000'000);
    order.snapshot.paths = {"/d", std::string("/\xff")};
    Selected one;
    one.parent_path = "/home";
    one.passages.push_back(maker.dir("home", {}));
    one.node = maker.file(std::string("odd\xff"), "content");
    order.selected = {one};
    const auto out = unpack_order(pack_order(order).value());
    ASSERT_TRUE(out.ok()) << out.error().message();
    EXPECT_EQ(out->named.user, "alice");
    EXPECT_EQ(out->named.groups, order.named.groups);
    EXPECT_EQ(out->request.paths, order.request.paths);
    EXPECT_EQ(out->request.on_conflict, ConflictMode::newer);
    EXPECT_TRUE(out->request.full_paths && out->request.verify && out->request.delete_others);
    EXPECT_FALSE(out->request.dry_run || out->has_spares || out->has_change_log);
    EXPECT_TRUE(out->has_protect && out->has_alters && out->request.only_remove);
    EXPECT_FALSE(out->has_is_ours);
    EXPECT_TRUE(out->rule().sees_all());
    ASSERT_EQ(out->request.remove.size(), 2u);
    EXPECT_EQ(out->request.remove[1].path, "/d");
    EXPECT_TRUE(out->request.remove[1].is_directory && !out->request.remove[0].is_directory);
    EXPECT_EQ(out->request.unchanged_since, order.request.unchanged_since);
    ASSERT_EQ(out->request.mtimes.size(), 1u);
    EXPECT_EQ(out->request.mtimes[0].second.tv_sec, -7);
    EXPECT_EQ(out->request.mtimes[0].second.tv_nsec, 999'999'999);
    EXPECT_EQ(out->request.longest_kept, 99u);
    EXPECT_EQ(out->snapshot.time, order.snapshot.time);
    EXPECT_EQ(out->snapshot.paths, order.snapshot.paths);
    ASSERT_EQ(out->selected.size(), 1u);
    EXPECT_EQ(out->selected[0].node, one.node);
    EXPECT_EQ(out->selected[0].passages, one.passages);
    const auto person = unpack_person(pack_person({{1001, {4, 1001}}, 4}));
    ASSERT_TRUE(person.ok());
    EXPECT_FALSE(person->keeps_rights);
    EXPECT_EQ(person->caller.gids, (std::vector<std::uint32_t>{4, 1001}));
    EXPECT_EQ(person->primary_gid, 4u);
}

TEST(Order, TheResultComesBackWithEveryCount) {
    RestoreResult result;
    result.counts.created = 1;
    result.counts.space_free = 20;
    result.counts.bytes_deleted = 18;
    result.conflicts = {"/a"};
    result.conflict_count = 12;
    result.steps = {{"create", "/b", 3}};
    result.cannot_hold = {"owners"};
    const auto out = unpack_result(pack_result(result));
    ASSERT_TRUE(out.ok());
    EXPECT_EQ(out->counts.created, 1u);
    EXPECT_EQ(out->counts.space_free, 20u);
    EXPECT_EQ(out->counts.bytes_deleted, 18u);
    EXPECT_EQ(out->conflicts, result.conflicts);
    EXPECT_EQ(out->conflict_count, 12u);
    ASSERT_EQ(out->steps.size(), 1u);
    EXPECT_EQ(out->steps[0].path, "/b");
    EXPECT_EQ(out->cannot_hold, result.cannot_hold);
    const auto failed =
        unpack_result(pack_result(Error(ErrorKind::conflict, ErrorCode::conflict, "in the way")));
    EXPECT_EQ(failed.error().code(), ErrorCode::conflict);
}

// A daemon's and a writer's end of the blobs of one revision.
class BlobService : public testing::Test {
  protected:
    static Node owned(Node node, std::uint32_t mode, std::uint32_t uid, const char* name) {
        node.mode = go_mode((node.unix_mode() & S_IFMT) | mode);
        node.uid = node.gid = uid;
        node.user = node.group = name;
        return node;
    }
    void SetUp() override {
        hers_ = owned(maker_.file("hers", "her words"), 0600, 1001, "alice");
        his_ = owned(maker_.file("his", "his words"), 0600, 1002, "bob");
        in_closed_ = owned(maker_.file("in", "for all, but closed"), 0644, 1002, "bob");
        closed_ = owned(maker_.dir("closed", {in_closed_}), 0700, 1002, "bob");
        top_ = owned(maker_.dir("top", {closed_, hers_, his_}), 0755, 0, "root");
        maker_.commit({top_});
        ASSERT_TRUE(maker_.repository().refresh_index({}).ok());
        std::vector<UniqueFd> handed;
        for (auto& channel : channels_) {
            auto [ours, theirs] = socket_pair().value();
            channel = std::make_unique<Channel>(std::move(ours));
            handed.push_back(std::move(theirs));
        }
        remote_ = std::make_unique<RemoteBlobs>(std::move(handed));
        for (auto& channel : channels_)
            servers_.emplace_back([this, &channel] {
                serve_blobs(*channel, maker_.repository().blobs(), grants_, nullptr, alice_);
            });
    }
    void TearDown() override {
        go_away();
        for (std::thread& server : servers_) server.join();
    }
    void go_away() {
        for (auto& channel : channels_) channel->shut_down();
    }
    static BlobHandle content(const Node& node) { return {BlobType::data, node.content.at(0)}; }
    static BlobHandle tree(const Node& node) { return {BlobType::tree, *node.subtree}; }

    const Caller alice_{.uid = 1001, .gids = {}, .sees_all = false};
    RevisionMaker maker_;
    Node hers_, his_, in_closed_, closed_, top_;
    const AccessRule rule_{kAlice};
    Grants grants_{rule_};
    std::array<std::unique_ptr<Channel>, 2> channels_;  // one for blobs, one for places
    std::unique_ptr<RemoteBlobs> remote_;
    std::vector<std::thread> servers_;
};

TEST_F(BlobService, NothingIsHadThatWasNotShown) {
    for (const BlobHandle& handle : {tree(top_), content(hers_), content(his_)}) {
        const auto loaded = remote_->load(handle);
        ASSERT_FALSE(loaded.ok());
        EXPECT_EQ(loaded.error().code(), ErrorCode::access_denied);
        EXPECT_FALSE(remote_->locate(handle).has_value());
    }
}

TEST_F(BlobService, WhatIsShownShowsWhatLiesInIt) {
    grants_.show(top_);
    ASSERT_TRUE(remote_->load(tree(top_)).ok());
    EXPECT_EQ(as_text(remote_->load(content(hers_)).value()), "her words");
    EXPECT_TRUE(remote_->contains(content(hers_)));
    for (const BlobHandle& handle : {tree(closed_), content(his_), content(in_closed_)})
        EXPECT_EQ(remote_->load(handle).error().code(), ErrorCode::access_denied);
}

TEST_F(BlobService, OfAPackOnlyWhatWasShownComesWhateverIsClaimed) {
    grants_.show(top_);
    ASSERT_TRUE(remote_->load(tree(top_)).ok());
    const BlobLocation place = *remote_->locate(content(hers_));
    // His words by her place, hers by a place and in a pack that are none.
    BlobLocation wrong = place;
    wrong.offset += 1;
    const std::vector<BlobSource::Wanted> wanted{
        {content(his_), place}, {content(hers_), wrong}, {content(hers_), place}};
    for (const PackId& pack : {place.pack, PackId{}}) {
        std::vector<std::string> got(3);
        ASSERT_TRUE(remote_
                        ->load_from_pack(pack, wanted,
                                         [&](std::size_t at, Result<ByteView> bytes) -> Result<> {
                                             got[at] = bytes.ok() ? as_text(*bytes)
                                                                  : to_string(bytes.error().code());
                                             return {};
                                         })
                        .ok());
        EXPECT_EQ(got, (std::vector<std::string>{"AccessDenied", "her words", "her words"}));
    }
}

TEST_F(BlobService, AnErrorOfWhoeverReadsAPackLeavesTheChannelUsable) {
    grants_.show(top_);
    ASSERT_TRUE(remote_->load(tree(top_)).ok());
    const BlobLocation place = *remote_->locate(content(hers_));
    const std::vector<BlobSource::Wanted> wanted{{content(hers_), place}, {content(hers_), place}};
    const auto done =
        remote_->load_from_pack(place.pack, wanted, [](std::size_t, Result<ByteView>) -> Result<> {
            return Error(ErrorKind::no_space, "full");
        });
    EXPECT_EQ(done.error().kind(), ErrorKind::no_space);
    EXPECT_TRUE(remote_->load(content(hers_)).ok());
}

TEST_F(BlobService, APlaceIsToldWhileAPackIsRead) {
    grants_.show(top_);
    ASSERT_TRUE(remote_->load(tree(top_)).ok());
    const BlobLocation place = *remote_->locate(content(hers_));
    bool was_told = false;
    const std::vector<BlobSource::Wanted> wanted{{content(hers_), place}};
    EXPECT_TRUE(remote_
                    ->load_from_pack(place.pack, wanted,
                                     [&](std::size_t, Result<ByteView>) -> Result<> {
                                         was_told = remote_->contains(tree(top_));
                                         return {};
                                     })
                    .ok());
    EXPECT_TRUE(was_told);
}

TEST_F(BlobService, AServerThatHasGoneEndsWhatIsAsked) {
    grants_.show(top_);
    go_away();
    EXPECT_EQ(remote_->load(tree(top_)).error().kind(), ErrorKind::cancelled);
}

}  // namespace
}  // namespace backup::writer
