#include "daemon/writer/blob_service.h"

#include <cstring>

#include "daemon/access/told_error.h"

namespace backup::writer {

namespace {

enum Kind : std::uint8_t {
    kLoad,   // handle -> outcome, bytes, places of the files' blobs if it is a tree
    kPlace,  // handle -> known, location
    kPack,   // pack, handles -> kBlob for each, then kEnd
    kBlob,   // index, outcome, bytes
    kEnd,    // outcome
};
constexpr std::size_t kMostPlaces = 500'000;

template <typename T>
void put_id(Packer& packer, const T& id) {
    packer.bytes(id.bytes);
}
template <typename T>
bool take_id(Unpacker& from, T& id) {
    const std::string_view bytes = from.view();
    if (bytes.size() != id.bytes.size()) return false;
    std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
    return true;
}

void put_handle(Packer& packer, const BlobHandle& handle) {
    packer.number(static_cast<std::uint64_t>(handle.type));
    put_id(packer, handle.id);
}
bool take_handle(Unpacker& from, BlobHandle& handle) {
    const std::uint64_t type = from.number();
    handle.type = type == 0 ? BlobType::data : BlobType::tree;
    return take_id(from, handle.id) && type <= 1 && from.good();
}

void put_place(Packer& packer, const BlobLocation& place) {
    put_id(packer, place.pack);
    packer.number(place.offset).number(place.length).number(place.uncompressed_length);
}
bool take_place(Unpacker& from, BlobLocation& place) {
    const bool good = take_id(from, place.pack);
    place.offset = static_cast<std::uint32_t>(from.number());
    place.length = static_cast<std::uint32_t>(from.number());
    place.uncompressed_length = static_cast<std::uint32_t>(from.number());
    return good && from.good();
}

Error not_shown() {
    return {ErrorKind::denied, ErrorCode::access_denied, "you could not have read it then"};
}
Error unreadable() {
    return {ErrorKind::io, "an answer of the daemon cannot be read"};
}

}  // namespace

void Grants::show(const Node& node) {
    if (rule_.sees_all() || !rule_.may_open(node)) return;
    std::lock_guard lock(mutex_);
    if (node.subtree) blobs_.insert({BlobType::tree, *node.subtree});
    for (const BlobId& id : node.content) blobs_.insert({BlobType::data, id});
}

void Grants::show_entries(ByteView tree) {
    if (rule_.sees_all()) return;
    // What is odd in it is the writer's to complain about.
    (void)visit_tree(
        tree,
        [&](Node& node) -> Result<> {
            show(node);
            return {};
        },
        [](const Error&) {});
}

bool Grants::may_have(const BlobHandle& handle) const {
    if (rule_.sees_all()) return true;
    std::lock_guard lock(mutex_);
    return blobs_.contains(handle);
}

namespace {

class Server {
  public:
    Server(Channel& channel, BlobSource& blobs, Grants& grants, Pace* pace, const Caller& caller)
        : channel_(channel), blobs_(blobs), grants_(grants), pace_(pace), caller_(caller) {}

    Result<> answer(const Frame& frame) {
        Unpacker from(frame.payload);
        switch (static_cast<Kind>(frame.kind)) {
            case kLoad:
                return load(from);
            case kPlace:
                return place(from);
            case kPack:
                return load_pack(from);
            case kBlob:
            case kEnd:
                break;
        }
        return unreadable();
    }

  private:
    Result<> load(Unpacker& from) {
        BlobHandle handle{};
        if (!take_handle(from, handle)) return unreadable();
        Result<Bytes> loaded = grants_.may_have(handle) ? blobs_.load(handle) : not_shown();
        Packer packer;
        if (!loaded.ok()) {
            packer.outcome(told(loaded.error()));
            return channel_.send(kLoad, packer.data());
        }
        if (!passes(loaded->size()))
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
        packer.outcome({}).bytes(*loaded);
        if (handle.type == BlobType::tree) put_places(packer, *loaded);
        return channel_.send(kLoad, packer.data());
    }

    // Where the content of the files is, so that it need not be asked for blob by blob.
    void put_places(Packer& packer, ByteView tree) {
        grants_.show_entries(tree);
        std::size_t left = kMostPlaces;
        (void)visit_tree(
            tree,
            [&](Node& node) -> Result<> {
                for (const BlobId& id : node.content) {
                    const BlobHandle handle{BlobType::data, id};
                    if (left == 0 || !grants_.may_have(handle)) break;
                    const auto known = blobs_.locate(handle);
                    if (!known) continue;
                    --left;
                    put_id(packer, id);
                    put_place(packer, *known);
                }
                return {};
            },
            [](const Error&) {});
    }

    Result<> place(Unpacker& from) {
        BlobHandle handle{};
        if (!take_handle(from, handle)) return unreadable();
        const auto known = grants_.may_have(handle) ? blobs_.locate(handle) : std::nullopt;
        Packer packer;
        packer.flag(known.has_value());
        if (known) put_place(packer, *known);
        return channel_.send(kPlace, packer.data());
    }

    // Places are looked up again: what a writer says of them is not believed.
    Result<> load_pack(Unpacker& from) {
        PackId pack;
        if (!take_id(from, pack)) return unreadable();
        std::vector<BlobSource::Wanted> wanted;
        std::vector<std::size_t> index;
        std::vector<std::pair<std::size_t, BlobHandle>> elsewhere;
        std::vector<std::size_t> refused;
        const std::uint64_t count = from.count();
        for (std::size_t i = 0; i < count; ++i) {
            BlobHandle handle{};
            if (!take_handle(from, handle)) return unreadable();
            if (!grants_.may_have(handle)) {
                refused.push_back(i);
                continue;
            }
            const auto known = blobs_.locate(handle);
            if (known && known->pack == pack) {
                wanted.push_back({handle, *known});
                index.push_back(i);
            } else {
                elsewhere.emplace_back(i, handle);
            }
        }
        TRY(from.finish());
        Result<> done = blobs_.load_from_pack(
            pack, wanted, [&](std::size_t at, Result<ByteView> plaintext) -> Result<> {
                if (!passes(wanted[at].location.length))
                    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
                return tell(index[at], plaintext);
            });
        for (const std::size_t at : refused)
            if (done.ok()) done = tell(at, not_shown());
        for (const auto& [at, handle] : elsewhere) {
            if (!done.ok()) break;
            Result<Bytes> loaded = blobs_.load(handle);
            done = loaded.ok() ? tell(at, ByteView(*loaded)) : tell(at, std::move(loaded).error());
        }
        Packer packer;
        packer.outcome(done.ok() ? std::move(done) : told(done.error()));
        return channel_.send(kEnd, packer.data());
    }

    Result<> tell(std::size_t index, const Result<ByteView>& plaintext) {
        Packer packer;
        packer.number(index);
        if (plaintext.ok())
            packer.outcome({}).bytes(*plaintext);
        else
            packer.outcome(told(plaintext.error()));
        return channel_.send(kBlob, packer.data());
    }

    Error told(const Error& error) const { return told_and_logged(caller_, error, "a restore"); }
    bool passes(std::size_t bytes) const { return pace_ == nullptr || pace_->pass(bytes); }

    Channel& channel_;
    BlobSource& blobs_;
    Grants& grants_;
    Pace* const pace_;
    const Caller& caller_;
};

}  // namespace

void serve_blobs(Channel& channel, BlobSource& blobs, Grants& grants, Pace* pace,
                 const Caller& caller) {
    Server server(channel, blobs, grants, pace, caller);
    for (;;) {
        auto frame = channel.receive();
        if (!frame.ok() || !*frame || !server.answer(**frame).ok()) break;
    }
    channel.shut_down();
}

// ---- The writer's end

// A channel for one request.
class RemoteBlobs::Turn {
  public:
    explicit Turn(const RemoteBlobs& owner) : owner_(owner) {
        std::unique_lock lock(owner_.mutex_);
        owner_.freed_.wait(lock, [&] { return !owner_.idle_.empty(); });
        channel_ = owner_.idle_.back();
        owner_.idle_.pop_back();
    }
    ~Turn() {
        std::lock_guard lock(owner_.mutex_);
        owner_.idle_.push_back(channel_);
        owner_.freed_.notify_one();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    Channel& channel() { return *channel_; }

  private:
    const RemoteBlobs& owner_;
    Channel* channel_ = nullptr;
};

RemoteBlobs::RemoteBlobs(std::vector<UniqueFd> channels, std::function<void()> gone)
    : gone_(std::move(gone)),
      place_channel_(std::make_unique<Channel>(std::move(channels.back()))) {
    channels.pop_back();
    for (UniqueFd& fd : channels) {
        channels_.push_back(std::make_unique<Channel>(std::move(fd)));
        idle_.push_back(channels_.back().get());
    }
}

Result<Frame> RemoteBlobs::receive(Channel& channel) const {
    auto answer = channel.receive();
    if (answer.ok() && *answer) return std::move(**answer);
    if (gone_) gone_();
    if (!answer.ok()) return std::move(answer).error();
    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "the daemon has stopped");
}

Result<Frame> RemoteBlobs::ask(Channel& channel, std::uint8_t kind,
                               std::string_view payload) const {
    // Where it cannot be sent, nothing is answered either.
    (void)channel.send(kind, payload);
    return receive(channel);
}

Result<Bytes> RemoteBlobs::load(const BlobHandle& handle) {
    Packer packer;
    put_handle(packer, handle);
    Frame frame;
    {
        Turn turn(*this);
        frame = TRY(ask(turn.channel(), kLoad, packer.data()));
    }
    Unpacker from(frame.payload);
    TRY(from.outcome());
    Bytes loaded = to_bytes(as_bytes(from.view()));
    if (!from.good()) return unreadable();
    std::lock_guard lock(mutex_);
    if (places_.size() > kMostPlaces) places_.clear();
    while (from.good() && !from.finish().ok()) {
        BlobId id;
        BlobLocation place;
        if (!take_id(from, id) || !take_place(from, place)) return unreadable();
        places_[id] = place;
    }
    return loaded;
}

Result<> RemoteBlobs::check(const BlobHandle& handle) {
    TRY(load(handle));
    return {};
}

bool RemoteBlobs::contains(const BlobHandle& handle) const {
    return locate(handle).has_value();
}

std::optional<BlobLocation> RemoteBlobs::locate(const BlobHandle& handle) const {
    if (handle.type == BlobType::data) {
        std::lock_guard lock(mutex_);
        if (auto known = places_.find(handle.id); known != places_.end()) return known->second;
    }
    return ask_place(handle);
}

std::optional<BlobLocation> RemoteBlobs::ask_place(const BlobHandle& handle) const {
    Packer packer;
    put_handle(packer, handle);
    std::lock_guard one(asking_place_);
    const Result<Frame> frame = ask(*place_channel_, kPlace, packer.data());
    if (!frame.ok()) return std::nullopt;
    Unpacker from(frame->payload);
    BlobLocation place;
    if (!from.flag() || !take_place(from, place)) return std::nullopt;
    return place;
}

Result<> RemoteBlobs::load_from_pack(const PackId& pack, std::span<const Wanted> wanted,
                                     const EachBlob& each) {
    Packer packer;
    put_id(packer, pack);
    packer.number(wanted.size());
    for (const Wanted& one : wanted) put_handle(packer, one.handle);
    Turn turn(*this);
    (void)turn.channel().send(kPack, packer.data());
    Result<> ended;
    for (;;) {
        const Frame frame = TRY(receive(turn.channel()));
        Unpacker from(frame.payload);
        if (frame.kind == kEnd) {
            if (!ended.ok()) return ended;
            return from.outcome();
        }
        const std::uint64_t index = from.number();
        const Result<> outcome = from.outcome();
        const std::string_view bytes = outcome.ok() ? from.view() : std::string_view();
        if (frame.kind != kBlob || index >= wanted.size() || !from.finish().ok())
            return unreadable();
        // All that is under way is taken, so that the channel can be used again.
        if (!ended.ok()) continue;
        ended = outcome.ok() ? each(index, as_bytes(bytes)) : each(index, outcome.error());
    }
}

}  // namespace backup::writer
