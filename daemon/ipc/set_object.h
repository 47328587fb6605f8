// A backup set on the bus: dbus/org.backupd1.Set.xml. Loop thread only.
#pragma once

#include "daemon/ipc/served.h"
#include "daemon/restore/restore.h"

namespace backup {

class SetObject final : public BusObject {
  public:
    SetObject(Served& served, std::string id);

    static const Interface& interface();
    const std::string& path() const { return path_; }
    wire::Value property(std::string_view name) const override;

  private:
    Result<> get_configuration(std::shared_ptr<Call> call);
    Result<> configure(std::shared_ptr<Call> call);
    Result<> start_backup(std::shared_ptr<Call> call);
    Result<> list_revisions(std::shared_ptr<Call> call);
    Result<> get_revision(std::shared_ptr<Call> call);
    Result<> list_files(std::shared_ptr<Call> call);
    Result<> list_versions(std::shared_ptr<Call> call);
    Result<> find(std::shared_ptr<Call> call);
    Result<> diff(std::shared_ptr<Call> call);
    Result<> open_file(std::shared_ptr<Call> call);
    Result<> export_tree(std::shared_ptr<Call> call);
    Result<> verify(std::shared_ptr<Call> call);
    Result<> drill(std::shared_ptr<Call> call);
    Result<> pin_revision(std::shared_ptr<Call> call);
    Result<> delete_revisions(std::shared_ptr<Call> call);
    Result<> apply_retention(std::shared_ptr<Call> call);
    Result<> plan_retention(std::shared_ptr<Call> call);
    Result<> restore_trash(std::shared_ptr<Call> call);
    Result<> get_guard(std::shared_ptr<Call> call);
    Result<> answer_guard(std::shared_ptr<Call> call);
    std::string guard_word() const;
    std::uint64_t guard_since() const;
    Result<> explain_schedule(std::shared_ptr<Call> call);
    Result<> get_schedule(std::shared_ptr<Call> call);
    std::uint64_t blocked_since(const BackupSet& set) const;
    Result<> list_queue(std::shared_ptr<Call> call);
    Result<> get_tracking(std::shared_ptr<Call> call);

    Served& served_;
    const std::string id_, path_;
};

// The keys of CreateSet, GetConfiguration and Configure.
wire::Dict set_configuration(const BackupSet& set);
// Takes its keys from `changes`; does not finish() them.
Result<> change_set(BackupSet& set, wire::DictReader& changes);

// The "type" of a file in streams: f d l b c p s, and ? for what the format does not name.
std::string_view type_letter(NodeType type);

// Opens the set's repository and finds a revision in it; blocks, for I/O threads.
struct FoundRevision {
    RepositoryHandle repository;
    Revision revision;
    SetOnHost asked;  // the set it was looked for in
};
// What to say when the revision does not have the path: where it was read last, if it could not be
// read for this one. Blocks.
Error explain_no_path(Error error, const FoundRevision& found, const std::string& path);
Result<FoundRevision> find_revision(RepositoryPool& pool, const BackupSet& set,
                                    const std::string& text);
// For somebody bound by rule R: `denied`/access_denied for revisions of other machines.
Result<FoundRevision> find_revision(RepositoryPool& pool, const BackupSet& set,
                                    const std::string& text, const AccessRule& rule);
// A path of a revision, as the rule shows it. For who sees all the error says where the path was
// read last, if it could not be read for this revision.
Result<FoundNode> find_path(const FoundRevision& found, const std::string& path,
                            const AccessRule& rule);
// What there is to open: `denied`/access_denied for what can only be seen.
Result<> may_open(const FoundNode& node, const AccessRule& rule);

}  // namespace backup
