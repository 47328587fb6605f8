// Opening and making repositories: keys and config. The rest is in engine.cc.
#include "daemon/repository/repository.h"

#include <algorithm>

#include "common/log.h"
#include "daemon/repository/engine.h"

namespace backup {

namespace {

Error damaged(std::string message) {
    return {ErrorKind::corrupt, ErrorCode::repository_damaged, std::move(message)};
}

Error missing(Backend& backend) {
    return {ErrorKind::not_found, ErrorCode::repository_missing,
            "there is no repository at " + backend.properties().url};
}

struct OpenedKey {
    MasterKey key;
    KeyId id;
};

Result<OpenedKey> find_key(Backend& backend, ByteView password, const RepositoryOptions& options) {
    std::vector<KeyId> ids;
    TRY_DURING(backend.list(FileType::key,
                            [&](const FileInfo& info) { ids.push_back(id_cast<KeyId>(info.id)); }),
               "list keys");
    std::ranges::sort(ids);
    if (options.key_hint)
        std::partition(ids.begin(), ids.end(),
                       [&](const KeyId& id) { return id == *options.key_hint; });
    unsigned tried = 0;
    std::optional<Error> skipped;
    for (const KeyId& id : ids) {
        Result<Bytes> json = backend.get({FileType::key, retag<struct FileTag>(id)});
        if (!json.ok()) {
            if (json.error().kind() == ErrorKind::not_found) continue;
            return std::move(json).error().during("key " + id.short_hex());
        }
        Result<KeyFile> file = content_id<KeyId>(*json) == id
                                   ? decode_key_file(*json, options.most_key_memory)
                                   : damaged("its content does not match its name");
        if (!file.ok()) {
            skipped = std::move(file).error().during("key " + id.short_hex());
            log_warning("skipping a key file: " + skipped->message());
            continue;
        }
        ++tried;
        Result<MasterKey> key = open_key_file(*file, password);
        if (key.ok()) return OpenedKey{*std::move(key), id};
        if (key.error().kind() == ErrorKind::denied) continue;
        skipped = std::move(key).error().during("key " + id.short_hex());
        log_warning("skipping a key file: " + skipped->message());
        --tried;
    }
    if (tried > 0)
        return Error(ErrorKind::denied, ErrorCode::wrong_password,
                     "the password opens none of the keys of " + backend.properties().url);
    if (skipped) return *std::move(skipped);
    return damaged("the repository at " + backend.properties().url + " has no key");
}

Result<RepositoryConfig> read_config(Backend& backend, const MasterKey& key) {
    Result<Bytes> sealed = backend.get({FileType::config, {}});
    if (!sealed.ok()) {
        if (sealed.error().kind() == ErrorKind::not_found) return missing(backend);
        return std::move(sealed).error().during("read the config");
    }
    Result<Bytes> json = key.unseal(*sealed);
    if (!json.ok()) return damaged("config: " + json.error().message());
    Result<RepositoryConfig> config = decode_config(*json);
    if (!config.ok() && config.error().kind() == ErrorKind::corrupt)
        return damaged("config: " + config.error().message());
    return config;
}

Result<> expect_none(Backend& backend, FileType type) {
    bool any = false;
    TRY(backend.list(type, [&](const FileInfo&) { any = true; }));
    if (any)
        return Error(
            ErrorKind::conflict, ErrorCode::conflict,
            "there is something at " + backend.properties().url + " already: a " + to_string(type));
    return {};
}

}  // namespace

Result<KeyId> write_key(Backend& backend, const MasterKey& key, ByteView password, KeyCost cost,
                        Timestamp now) {
    if (cost.p == 0) cost = TRY(measure_key_cost(cost));
    const Identity self = own_identity();
    KeyFile file = TRY(make_key_file(key, password, cost, now, {self.username, self.hostname}));
    const std::string json = encode_key_file(file);
    const FileId id = content_id(as_bytes(json));
    TRY_DURING(backend.put({FileType::key, id}, as_bytes(json)), "store the key");
    return id_cast<KeyId>(id);
}

Result<std::unique_ptr<Repository>> Repository::init(Backend& backend, ByteView password,
                                                     const RepositoryOptions& options,
                                                     KeyCost cost) {
    Result<FileInfo> present = backend.stat({FileType::config, {}});
    if (present.ok())
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "there is a repository at " + backend.properties().url + " already");
    if (present.error().kind() != ErrorKind::not_found) return std::move(present).error();
    TRY(expect_none(backend, FileType::key));
    TRY(expect_none(backend, FileType::snapshot));
    TRY_DURING(backend.create(), "make the repository");

    const RepositoryConfig config = TRY(make_config());
    MasterKey key = MasterKey::generate();
    const KeyId id = TRY(write_key(backend, key, password, cost, options.clock->now()));
    // The config comes last: without it there is no repository.
    TRY_DURING(backend.put({FileType::config, {}}, key.seal(as_bytes(encode_config(config)))),
               "store the config");
    return std::unique_ptr<Repository>(
        std::make_unique<Engine>(backend, std::move(key), id, config, options));
}

Result<std::unique_ptr<Repository>> Repository::open(Backend& backend, ByteView password,
                                                     const RepositoryOptions& options) {
    // Before the keys: scrypt takes half a second, and a missing repository is the likelier
    // mistake.
    Result<FileInfo> present = backend.stat({FileType::config, {}});
    if (!present.ok()) {
        if (present.error().kind() == ErrorKind::not_found) return missing(backend);
        return std::move(present).error();
    }
    OpenedKey opened = TRY(find_key(backend, password, options));
    RepositoryConfig config = TRY(read_config(backend, opened.key));
    auto engine = std::make_unique<Engine>(backend, std::move(opened.key), opened.id,
                                           std::move(config), options);
    remove_own_stale_locks(engine->lock_place());
    return std::unique_ptr<Repository>(std::move(engine));
}

}  // namespace backup
