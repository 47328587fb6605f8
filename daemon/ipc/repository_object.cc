#include "daemon/ipc/repository_object.h"

#include <algorithm>
#include <cstdio>

#include <systemd/sd-bus.h>

#include "daemon/ipc/revisions.h"
#include "daemon/jobs/tasks.h"

namespace backup {

namespace {

std::string hex_number(std::uint64_t value) {
    char text[20];
    std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(value));
    return text;
}

Result<wire::Dict> test_password(RepositoryPool& pool, const RepositoryPolicy& policy, int fd) {
    Secret secret = TRY(read_secret(fd));
    RepositoryHandle opened = TRY(pool.open_as_stranger(policy, secret));
    std::vector<Revision> revisions = all_revisions(TRY(opened->repository->list_revisions()));
    std::erase_if(revisions, is_pre_restore);
    std::string key;
    for (const KeyInfo& info : TRY(opened->repository->list_keys()))
        if (info.is_current) key = info.id.hex();
    wire::Dict result = {
        {"id", opened->repository->config().id},
        {"key", key},
        {"revisions", static_cast<std::uint32_t>(revisions.size())},
    };
    if (!revisions.empty())
        result.push_back({"latest", to_usec(revisions.front().snapshot().time)});
    return result;
}

// The key that may be removed: neither the last nor the one we opened the repository with.
Result<KeyId> find_removable_key(Repository& repository, const std::string& text) {
    std::vector<KeyInfo> keys = TRY(repository.list_keys());
    const KeyInfo* found = nullptr;
    for (const KeyInfo& key : keys) {
        if (text.size() < 6 || !key.id.hex().starts_with(text)) continue;
        if (found != nullptr) return invalid_argument("several keys begin with " + text);
        found = &key;
    }
    if (found == nullptr)
        return Error(ErrorKind::not_found, ErrorCode::no_such_path, "there is no key " + text);
    if (keys.size() == 1)
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "this is the last key: without it nobody can open the repository");
    if (found->is_current)
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "this is the key that the repository was opened with");
    return found->id;
}

Result<wire::Dict> details_of(OpenRepository& opened) {
    Repository& repository = *opened.repository;
    std::uint64_t packs = 0, bytes = 0;
    TRY(repository.backend().list(FileType::pack, [&](const FileInfo& file) {
        ++packs;
        bytes += file.size;
    }));
    const auto keys = static_cast<std::uint32_t>(TRY(repository.list_keys()).size());
    const auto revisions = static_cast<std::uint32_t>(TRY(repository.list_revisions()).size());
    wire::Dict details = {
        {"url", opened.storage.backend->properties().url},
        {"id", repository.config().id},
        {"version", std::uint32_t{repository.config().version}},
        {"keys", keys},
        {"packs", packs},
        {"bytes", bytes},
        {"revisions", revisions},
        {"polynomial", hex_number(repository.config().chunker_polynomial)},
    };
    if (auto space = repository.backend().space())
        details.push_back({"free-bytes", space->free_bytes});
    return details;
}

}  // namespace

RepositoryObject::RepositoryObject(Served& served, std::string name)
    : served_(served), name_(std::move(name)), path_(wire::repository_path(name_)) {}

const Interface& RepositoryObject::interface() {
    static Interface table("Repository");
    static bool once = [] {
        const auto manage = Access::manage, start = Access::start_backup;
        using Self = RepositoryObject;
        table.method("Unlock", "ha{sv}", "secret,options", "", "", manage, &Self::unlock)
            .method("Test", "ha{sv}", "secret,options", "a{sv}", "result", manage, &Self::test)
            .method("RemoveLocks", "a{sv}", "options", "u", "removed", manage, &Self::remove_locks)
            .method("ListKeys", "a{sv}", "options", "aa{sv}", "keys", manage, &Self::list_keys)
            .method("AddKey", "ha{sv}", "secret,options", "s", "key", manage, &Self::add_key)
            .method("RemoveKey", "sa{sv}", "key,options", "", "", manage, &Self::remove_key)
            .method("Check", "a{sv}", "options", "o", "job", start, &Self::check)
            .method("Collect", "a{sv}", "options", "o", "job", Access::remove, &Self::collect)
            .method("Audit", "a{sv}", "options", "o", "job", manage, &Self::audit)
            .method("ListRevisions", "a{sv}", "options", "aa{sv}s", "revisions,next_page", manage,
                    &Self::list_revisions)
            .method("GetDetails", "a{sv}", "options", "a{sv}", "details", manage,
                    &Self::get_details)
            .property("Name", "s", Changes::constant)
            .property("State", "s")
            .property("Reminder", "s")
            .property("UsedBytes", "t")
            .property("LastCheckUSec", "t")
            .property("LastCheckResult", "s")
            .property("LastCollectionUSec", "t")
            .property("LastCollectionResult", "s")
            .property("NextCollectionUSec", "t");
        return true;
    }();
    (void)once;
    return table;
}

wire::Value RepositoryObject::property(std::string_view name) const {
    RepositoryFacts facts = served_.service.repository_facts(name_);
    if (name == "Name") return name_;
    if (name == "State") return to_string(facts.status.state);
    if (name == "Reminder") return needs_reminder(facts) ? "sheet-untested" : "";
    if (name == "UsedBytes") return facts.status.used_bytes;
    if (name == "LastCheckUSec") return to_usec(facts.record.last_check);
    if (name == "LastCheckResult") return facts.record.last_check_result;
    // Before the first one it is when the repository was first seen.
    const bool any = !facts.record.last_collect_result.empty();
    if (name == "LastCollectionUSec") return any ? to_usec(facts.record.last_collect) : 0;
    if (name == "LastCollectionResult") return facts.record.last_collect_result;
    auto asked = policy();  // NextCollectionUSec
    if (!asked.ok()) return std::uint64_t{0};
    auto next = next_collection(*asked, facts.record, served_.service.clock().now());
    return next ? to_usec(*next) : std::uint64_t{0};
}

Result<RepositoryPolicy> RepositoryObject::policy() const {
    const auto& all = served_.service.policy().repositories;
    auto found = all.find(name_);
    if (found != all.end()) return found->second;
    return Error(ErrorKind::not_found, ErrorCode::no_such_repository,
                 "there is no repository '" + name_ + "'");
}

Result<> RepositoryObject::unlock(std::shared_ptr<Call> call) {
    auto fd = std::make_shared<UniqueFd>(TRY(call->descriptor()));
    TRY(call->no_options());
    answer_later(
        served_, call,
        [&pool = served_.service.pool(), name = name_, fd]() -> Result<> {
            Secret secret = TRY(read_secret(fd->get()));
            TRY(pool.unlock(name, std::move(secret)));
            return {};
        },
        [&service = served_.service, name = name_](Call& answer) {
            service.refresh_repository(name);
            answer.reply();
        });
    return {};
}

Result<> RepositoryObject::test(std::shared_ptr<Call> call) {
    auto fd = std::make_shared<UniqueFd>(TRY(call->descriptor()));
    TRY(call->no_options());
    RepositoryPolicy asked = TRY(policy());
    auto work = [&pool = served_.service.pool(), asked, fd] {
        return test_password(pool, asked, fd->get());
    };
    auto done = [&service = served_.service, name = name_, call](Call&, wire::Dict result) {
        service.change_repository_record(
            name, [](RepositoryRecord& record) { record.sheet_tested = true; },
            [call, result](Result<> kept) {
                if (!kept.ok()) return call->fail(kept.error());
                call->reply({result});
            });
    };
    answer_later(served_, call, std::move(work), std::move(done));
    return {};
}

Result<> RepositoryObject::remove_locks(std::shared_ptr<Call> call) {
    wire::DictReader options(TRY(call->dict()));
    bool all = options.boolean("all").value_or(false);
    TRY(options.finish());
    answer_later(
        served_, call,
        [&pool = served_.service.pool(), name = name_, all]() -> Result<unsigned> {
            RepositoryHandle opened = TRY(pool.open(name));
            return opened->repository->remove_stale_locks(all);
        },
        [](Call& answer, unsigned removed) { answer.reply({std::uint32_t{removed}}); });
    return {};
}

Result<> RepositoryObject::list_keys(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    answer_later(
        served_, call,
        [&pool = served_.service.pool(), name = name_]() -> Result<std::vector<KeyInfo>> {
            RepositoryHandle opened = TRY(pool.open(name));
            std::vector<KeyInfo> keys = TRY(opened->repository->list_keys());
            pool.set_keys(name, keys.size());
            return keys;
        },
        [](Call& answer, std::vector<KeyInfo> keys) {
            answer.reply_with([&](sd_bus_message* message) {
                int r = sd_bus_message_open_container(message, 'a', "a{sv}");
                for (const KeyInfo& key : keys)
                    if (r >= 0)
                        r = wire::append_dict(message, {{"id", key.id.hex()},
                                                        {"user", key.username},
                                                        {"host", key.hostname},
                                                        {"created", to_usec(key.created)},
                                                        {"current", key.is_current}});
                return r < 0 ? r : sd_bus_message_close_container(message);
            });
        });
    return {};
}

Result<> RepositoryObject::add_key(std::shared_ptr<Call> call) {
    auto fd = std::make_shared<UniqueFd>(TRY(call->descriptor()));
    TRY(call->no_options());
    answer_later(
        served_, call,
        [&pool = served_.service.pool(), name = name_, fd]() -> Result<std::string> {
            Secret secret = TRY(read_secret(fd->get()));
            RepositoryHandle opened = TRY(pool.open(name));
            KeyId made = TRY(opened->repository->add_key(secret.view()));
            pool.set_keys(name, TRY(opened->repository->list_keys()).size());
            return made.hex();
        },
        [](Call& answer, std::string key) { answer.reply({key}); });
    return {};
}

Result<> RepositoryObject::remove_key(std::shared_ptr<Call> call) {
    std::string text = TRY(call->string());
    TRY(call->no_options());
    answer_later(
        served_, call,
        [&pool = served_.service.pool(), name = name_, text]() -> Result<> {
            RepositoryHandle opened = TRY(pool.open(name));
            Repository& repository = *opened->repository;
            KeyId key = TRY(find_removable_key(repository, text));
            if (opened->storage.deleting == nullptr)
                return Error(ErrorKind::denied, ErrorCode::unsupported,
                             "this storage does not let keys be removed");
            TRY(repository.remove_key(key, *opened->storage.deleting));
            pool.set_keys(name, TRY(repository.list_keys()).size());
            return {};
        },
        [](Call& answer) { answer.reply(); });
    return {};
}

Result<> RepositoryObject::check(std::shared_ptr<Call> call) {
    wire::DictReader options(TRY(call->dict()));
    double percent = options.real("data-percent").value_or(0);
    TRY(options.finish());
    if (!(percent >= 0 && percent <= 100))
        return invalid_argument("data-percent: between 0 and 100");
    JobRequest request;
    request.kind = "check";
    request.repository = name_;
    request.uid = call->uid();
    if (!call->caller().sees_all) request.unique = "check:" + name_;
    request.body = check_body(served_.service.pool(), {name_, {}, percent});
    request.remember = [](StateStore& store, const JobRecord& record, std::uint64_t) {
        remember_check(store, record);
    };
    served_.service.jobs().start(std::move(request), answer_with_job(call));
    return {};
}

Result<> RepositoryObject::collect(std::shared_ptr<Call> call) {
    wire::DictReader options(TRY(call->dict()));
    Service::CollectOptions wanted;
    wanted.dry_run = options.boolean("dry-run").value_or(false);
    wanted.apply_rules = options.boolean("apply-rules").value_or(false);
    wanted.empty_trash = options.boolean("empty-trash").value_or(false);
    wanted.sets = options.texts("sets").value_or(std::vector<std::string>());
    TRY(options.finish());
    if (wanted.dry_run && wanted.apply_rules)
        return invalid_argument(
            "apply-rules: not with dry-run; Set.PlanRetention tells what they do");
    TRY(policy());
    for (const std::string& set : wanted.sets) TRY(served_.service.find_set(set));
    served_.service.start_collection(name_, wanted, "user", call->uid(), answer_with_job(call));
    return {};
}

Result<> RepositoryObject::audit(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    TRY(policy());
    served_.service.start_audit(name_, call->uid(), answer_with_job(call));
    return {};
}

Result<> RepositoryObject::list_revisions(std::shared_ptr<Call> call) {
    wire::DictReader options(TRY(call->dict()));
    RevisionFilter filter = TRY(read_revision_filter(options));
    TRY(options.finish());
    answer_later(
        served_, call,
        [&pool = served_.service.pool(), now = served_.service.clock().now(), name = name_,
         filter]() -> Result<Page> {
            RepositoryHandle opened = TRY(pool.open(name));
            return backup::list_revisions(
                all_revisions(TRY(opened->repository->list_revisions()), now), std::nullopt,
                filter);
        },
        [](Call& answer, Page page) {
            answer.reply_with([&](sd_bus_message* message) { return append_page(message, page); });
        });
    return {};
}

Result<> RepositoryObject::get_details(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    RepositoryPolicy asked = TRY(policy());
    answer_later(
        served_, call,
        [&pool = served_.service.pool(), asked]() -> Result<wire::Dict> {
            RepositoryHandle opened = TRY(pool.open(asked.name));
            wire::Dict details = TRY(details_of(*opened));
            for (const wire::DictEntry& entry : details)
                if (entry.key == "bytes")
                    pool.set_used_bytes(asked.name, std::get<std::uint64_t>(entry.value.held));
            return details;
        },
        [](Call& answer, wire::Dict details) { answer.reply({details}); });
    return {};
}

}  // namespace backup
