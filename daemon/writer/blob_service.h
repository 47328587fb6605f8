// Blobs for a writer process, from the daemon, which keeps the keys. The writer gets what it was
// shown and nothing else: the trees of directories that its caller could have listed, starting with
// what was found for the restore, and the content of files in them that he could have read.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/access/access_rule.h"
#include "daemon/backend/pace.h"
#include "daemon/repository/blob_source.h"
#include "daemon/restore/restore_source.h"
#include "daemon/writer/frames.h"

namespace backup::writer {

// What may be asked for. Thread-safe; grows with what is shown, some 50 bytes for each blob, but
// for whoever sees all.
class Grants {
  public:
    explicit Grants(const AccessRule& rule) : rule_(rule) {}
    void show(const Node& node);
    void show_entries(ByteView tree);
    bool may_have(const BlobHandle& handle) const;

  private:
    const AccessRule& rule_;
    mutable std::mutex mutex_;  // guards both
    std::unordered_set<BlobHandle> blobs_;
};

// Answers one channel until its other end closes it; several may run beside each other. `pace`: of
// what is read from the repository, or nullptr. How reading fails is told as far as it is the
// caller's business.
void serve_blobs(Channel& channel, BlobSource& blobs, Grants& grants, Pace* pace,
                 const Caller& caller);

// The other end: a BlobSource that asks. As many requests at once as it has channels but for one;
// at least two are needed. While a pack is read, locate() may be called, and nothing else.
class RemoteBlobs final : public BlobSource {
  public:
    // `gone`: called when the other end is not there any more, by whoever waits for it.
    explicit RemoteBlobs(std::vector<UniqueFd> channels, std::function<void()> gone = {});

    Result<Bytes> load(const BlobHandle& handle) override;
    Result<> check(const BlobHandle& handle) override;
    bool contains(const BlobHandle& handle) const override;
    std::optional<BlobLocation> locate(const BlobHandle& handle) const override;
    Result<> load_from_pack(const PackId& pack, std::span<const Wanted> wanted,
                            const EachBlob& each) override;

  private:
    class Turn;
    Result<Frame> ask(Channel& channel, std::uint8_t kind, std::string_view payload) const;
    Result<Frame> receive(Channel& channel) const;
    std::optional<BlobLocation> ask_place(const BlobHandle& handle) const;

    const std::function<void()> gone_;
    // Of its own, for places are asked for while the blobs of a pack come in.
    const std::unique_ptr<Channel> place_channel_;
    mutable std::mutex asking_place_;
    mutable std::mutex mutex_;  // guards idle_ and places_
    mutable std::condition_variable_any freed_;
    mutable std::vector<std::unique_ptr<Channel>> channels_;
    mutable std::vector<Channel*> idle_;
    // Told with each tree, for the files in it; forgotten when there are many.
    mutable std::unordered_map<BlobId, BlobLocation> places_;
};

}  // namespace backup::writer
