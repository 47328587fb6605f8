// From a name to its node.
#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <climits>

#include <dirent.h>
#include <fcntl.h>

#include "common/failpoint.h"
#include "daemon/archive/walk.h"

namespace backup {

namespace {

bool same_time(const FileTime& a, const statx_timestamp& b) {
    return a.seconds == b.tv_sec && a.nanoseconds == b.tv_nsec;
}

// Everything that a change of attributes would alter: then those of the parent still hold.
bool same_change(const RawNode& before, const struct statx& status) {
    return before.inode == status.stx_ino && same_time(before.ctime(), status.stx_ctime);
}

void add_raw(Bytes& out, std::string_view node) {
    append(out, as_bytes(node));
    out.push_back(',');
}

bool has_same_bytes(const RawNode* before, ByteView node) {
    return before != nullptr && before->bytes == as_text(node);
}

}  // namespace

bool WalkWorker::save_names(Directory& directory, Fragment& fragment, int fd,
                            std::span<const ListedName> names, ByteView before_json,
                            ByteView resumed_json, bool keep_unlisted) {
    std::optional<TreeScanner> scanner;
    const RawNode* before = nullptr;
    bool is_followed = true;
    auto next_before = [&] {
        auto next = scanner->next();
        // A tree that breaks off: the rest of the names counts as new.
        before = next.ok() ? *next : nullptr;
        if (next.ok() && !scanner->out_of_order()) return;
        fragment.same = false;
        is_followed = false;
    };
    if (!before_json.empty()) {
        scanner.emplace(before_json);
        next_before();
    }
    std::optional<TreeScanner> resumed_scanner;
    const RawNode* resumed = nullptr;
    auto next_resumed = [&] {
        auto next = resumed_scanner->next();
        resumed = next.ok() ? *next : nullptr;
    };
    if (!resumed_json.empty()) {
        resumed_scanner.emplace(resumed_json);
        next_resumed();
    }
    auto resumed_node = [&](std::string_view name) -> const RawNode* {
        while (resumed != nullptr && resumed->name < name) next_resumed();
        return resumed != nullptr && resumed->name == name ? resumed : nullptr;
    };
    auto pass_over = [&] {
        if (input_.survey != nullptr) {
            // What was above other paths of the set, or is a path that is not there, is not gone.
            if (directory.lists) tell_gone(directory, *before);
        } else if (input_.measure != nullptr && keep_unlisted) {
            // Not looked at: it is what it was.
        } else if (!keep_unlisted) {
            fragment.same = false;
            parent_.note_gone(*before, true);
        } else if (!keep_unlisted_node(directory, fragment, *before)) {
            std::string name(before->name);
            save_name(directory, fragment, fd,
                      {name.c_str(), static_cast<std::uint16_t>(name.size()), DT_UNKNOWN}, before,
                      resumed_node(name));
        }
        next_before();
    };
    for (const ListedName& listed : names) {
        walk_.gate.step_aside();
        if (ended() || walk_.stop.stop_requested()) return is_followed;
        while (before != nullptr && before->name < listed.name()) pass_over();
        bool known = before != nullptr && before->name == listed.name();
        if (!known) fragment.same = false;
        save_name(directory, fragment, fd, listed, known ? before : nullptr,
                  resumed_node(listed.name()));
        if (known) next_before();
    }
    while (before != nullptr && !ended()) pass_over();
    return is_followed;
}

void WalkWorker::save_name(Directory& directory, Fragment& fragment, int fd,
                           const ListedName& listed, const RawNode* before,
                           const RawNode* resumed) {
    Entry entry{directory, fragment, listed.name(), {fd, listed.text},
                nullptr,   before,   resumed,       {}};
    if (directory.target != nullptr) {
        auto child = directory.target->children.find(std::string(listed.name()));
        if (child != directory.target->children.end()) {
            entry.target = child->second.get();
            explicit_path_ = directory.path;
            append_path(explicit_path_, listed.name());
            entry.path = explicit_path_;
            entry.place = {AT_FDCWD, explicit_path_.c_str()};
        }
    }
    if (!input_.absent.empty() && before != nullptr && is_absent(entry)) {
        has_counterpart_ = true;
        add_raw(fragment.out, before->bytes);
        return;
    }
    if (input_.survey != nullptr) {
        has_counterpart_ = false;
        save_entry(entry, listed.type);
        if (!has_counterpart_ && before != nullptr) tell_gone(directory, *before);
        return;
    }
    if (input_.measure != nullptr) {
        const std::uint64_t noted = parent_.noted();
        has_counterpart_ = false;
        save_entry(entry, listed.type);
        if (!has_counterpart_ && before != nullptr && parent_.noted() == noted)
            parent_.note_gone(*before, false);
        return;
    }
    std::size_t nodes_before = fragment.out.size() + fragment.large.size();
    std::uint64_t noted_before = parent_.noted();
    save_entry(entry, listed.type);
    bool has_node = fragment.out.size() + fragment.large.size() != nodes_before;
    if (has_node || before == nullptr) return;
    fragment.same = false;
    if (parent_.noted() == noted_before) parent_.note_gone(*before, false);
}

void WalkWorker::save_entry(Entry& entry, std::uint8_t listed_type) {
    bool asked_exclude = entry.target != nullptr || input_.matcher.empty();
    if (!asked_exclude && listed_type != DT_UNKNOWN) {
        if (is_excluded(entry, listed_type == DT_DIR)) return tell_left_out(entry, "pattern");
        asked_exclude = true;
    }
    // What is new and a regular file is opened at once; its fstat tells the rest.
    bool open_first = listed_type == DT_REG && entry.before == nullptr &&
                      entry.resumed == nullptr && entry.target == nullptr &&
                      input_.admission == nullptr && !is_only_looking();
    for (int attempt = 0; attempt < 3; ++attempt) {
        if (open_first && attempt == 0) {
            if (save_file(entry, nullptr) == Saved::done) return;
            continue;
        }
        int flags = AT_NO_AUTOMOUNT | (entry.follows_links() ? 0 : AT_SYMLINK_NOFOLLOW);
        struct statx status;
        int error = fs_.status(entry.place.directory, entry.place.name, flags, status);
        if (error < 0) {
            // Gone since it was listed: it is as if it had gone a moment earlier.
            if (error == -ENOENT && entry.target == nullptr) {
                if (entry.before != nullptr) parent_.note_gone(*entry.before, true);
                return;
            }
            return except(entry, -error, "stat");
        }
        bool is_directory = S_ISDIR(status.stx_mode);
        if (!asked_exclude && is_excluded(entry, is_directory))
            return tell_left_out(entry, "pattern");
        if (const char* rule = why_left_out(entry, status)) return tell_left_out(entry, rule);
        if (input_.survey != nullptr) return compare(entry, status);
        if (input_.measure != nullptr) return measure(entry, status);
        if (attempt == 0 && input_.admission != nullptr && !may_come(entry, status)) return;
        if (is_directory) return save_directory(entry, status);
        Saved saved =
            S_ISREG(status.stx_mode) ? save_file(entry, &status) : save_other(entry, status);
        if (saved == Saved::done) return;
    }
    except(path_of_entry(entry),
           Error(ErrorKind::transient, "keeps changing its type while being read"));
}

bool WalkWorker::is_excluded(const Entry& entry, bool is_directory) {
    return input_.matcher.excludes(path_of_entry(entry), entry.name, is_directory);
}

// Its file system is missing: what lies there now is not what the parent revision has.
bool WalkWorker::is_absent(const Entry& entry) {
    return std::find(input_.absent.begin(), input_.absent.end(), path_of_entry(entry)) !=
           input_.absent.end();
}

// The word of the rule, or nullptr.
const char* WalkWorker::why_left_out(const Entry& entry, const struct statx& status) const {
    if (entry.target != nullptr) return nullptr;
    if (input_.exclude.nodump && (status.stx_attributes_mask & STATX_ATTR_NODUMP) != 0 &&
        (status.stx_attributes & STATX_ATTR_NODUMP) != 0)
        return "nodump";
    bool foreign = entry.directory.device_allowed != 0 &&
                   identity_of(status).device != entry.directory.device_allowed;
    // A mount point stays, empty.
    if (foreign && !S_ISDIR(status.stx_mode)) return "one-file-system";
    const bool is_larger = S_ISREG(status.stx_mode) && input_.exclude.larger_than != 0 &&
                           status.stx_size > input_.exclude.larger_than;
    return is_larger ? "larger-than" : nullptr;
}

const std::string& WalkWorker::path_of_entry(const Entry& entry) {
    entry_path_ = directory_path(entry.directory);
    append_path(entry_path_, entry.name);
    return entry_path_;
}

// A number of our own where the parent revision has another file system under this one, and that
// is missing now: what is kept of it keeps its numbers.
std::uint64_t WalkWorker::device_id(const struct statx& status) const {
    constexpr std::uint64_t kNoDevice = std::uint64_t{1} << 63;  // major numbers have 12 bits
    const std::uint64_t device = identity_of(status).device;
    bool is_taken = std::find(walk_.absent_devices.begin(), walk_.absent_devices.end(), device) !=
                    walk_.absent_devices.end();
    return is_taken ? device | kNoDevice : device;
}

NodeFields WalkWorker::fields(std::string_view name, const struct statx& status) {
    NodeFields node = fields_from(status, name);
    node.device_id = device_id(status);
    node.user = walk_.names.user(status.stx_uid);
    node.group = walk_.names.group(status.stx_gid);
    return node;
}

// Appends the node with its comma; true if it is as the parent has it.
bool WalkWorker::add_node(Entry& entry, const NodeFields& node) {
    Bytes& out = entry.fragment.out;
    std::size_t begin = out.size();
    encoder_.append_node(node, out);
    bool same = has_same_bytes(entry.before, ByteView(out).subspan(begin));
    out.push_back(',');
    if (!same) entry.fragment.same = false;
    return same;
}

void WalkWorker::note_file(const RawNode* before, bool same, std::uint64_t size) {
    bool was_file = before != nullptr && before->type == NodeType::file;
    ++(!was_file ? counts_.files_new : same ? counts_.files_unmodified : counts_.files_changed);
    if (was_file) parent_.note_file(before->size);
    counts_.total_bytes += size;
    ++items_noted_;
}

// Another kind of object has the name now.
void WalkWorker::count_replaced(const Entry& entry, NodeType now) {
    if (entry.before != nullptr && entry.before->type != now)
        parent_.note_gone(*entry.before, true);
}

// A node that nobody asks to look at again. False if the repository lacks what it refers to.
bool WalkWorker::keep_unlisted_node(Directory& directory, Fragment& fragment, const RawNode& node) {
    if (directory.target != nullptr &&
        directory.target->children.count(std::string(node.name)) != 0)
        return false;
    if (node.head.empty()) return false;  // in an encoding that we would not write
    if (!has_all_content(node)) return false;
    if (node.type == NodeType::dir && !input_.sink.contains({BlobType::tree, node.subtree()}))
        return false;
    add_raw(fragment.out, node.bytes);
    return true;
}

bool WalkWorker::keep_unchanged_file(Entry& entry, const struct statx& status) {
    const RawNode* before = entry.before;
    if (before == nullptr || before->type != NodeType::file || input_.full) return false;
    if (before->inode != status.stx_ino || before->size != status.stx_size || !before->has_content)
        return false;
    NodeFields node = fields(entry.name, status);
    // The usual case needs no parsing: the same stat gives the same text.
    bool same_head = encoder_.same_head(node, *before);
    if (!same_head && !(same_time(before->mtime(), status.stx_mtime) &&
                        same_time(before->ctime(), status.stx_ctime)))
        return false;
    if (is_unproven(entry, status)) return false;
    if (input_.look_at != nullptr) {
        // A file that somebody may write to can have other content with the same stat.
        const std::string& path = path_of_entry(entry);
        if (input_.look_at->must_read(path) || input_.look_at->may_be_written(path)) return false;
    }
    if (!has_all_content(*before)) return false;
    bool same = true;
    bool was_read_in_time = was_settled(status);
    if (same_head && was_read_in_time) {
        add_raw(entry.fragment.out, before->bytes);
    } else {
        node.xattr_json = was_read_in_time ? before->xattr_json : xattrs_of(entry, status, -1);
        node.content_json = before->content_json;
        same = add_node(entry, node);
    }
    note_file(before, same, before->size);
    bytes_noted_ += before->size;
    return true;
}

bool WalkWorker::has_all_content(const RawNode& node) const {
    for (std::size_t i = 0; i < node.content_count(); ++i)
        if (!input_.sink.contains({BlobType::data, node.content_id(i)})) return false;
    return true;
}

// The same rules as for the parent's node: the interrupted run waited with each reading until a
// later change must show in ctime. Attributes are read anew, so that one that cannot be read is
// told of this time, too.
bool WalkWorker::keep_resumed_file(Entry& entry, const struct statx& status) {
    const RawNode* found = entry.resumed;
    if (found == nullptr || found->type != NodeType::file || input_.full) return false;
    if (found->inode != status.stx_ino || found->size != status.stx_size || !found->has_content ||
        !same_time(found->mtime(), status.stx_mtime) ||
        !same_time(found->ctime(), status.stx_ctime))
        return false;
    if (is_unproven(entry, status)) return false;
    const std::string& path = path_of_entry(entry);
    if (walk_.unsettled_before.contains(path)) return false;
    if (input_.look_at != nullptr &&
        (input_.look_at->must_read(path) || input_.look_at->may_be_written(path)))
        return false;
    if (!has_all_content(*found)) return false;
    count_replaced(entry, NodeType::file);
    NodeFields node = fields(entry.name, status);
    node.xattr_json = xattrs_of(entry, status, -1);
    node.content_json = found->content_json;
    bool same = add_node(entry, node);
    note_file(entry.before, same, found->size);
    bytes_noted_ += found->size;
    ++counts_.files_resumed;
    counts_.bytes_resumed += found->size;
    if (input_.parent_tree) {
        const RawNode* before = entry.before;
        const bool was_file = before != nullptr && before->type == NodeType::file;
        const bool same_content = was_file && before->content_json == found->content_json;
        // How it begins is not known here: for new files that is taken for a compressed format.
        Texture texture = Texture::unknown;
        if (found->size >= kLeastTexture && found->content_count() > 0) {
            if (was_compressed(input_.source, found->content_id(0)))
                texture = Texture::orderly;
            else if (was_file)
                texture = Texture::opaque;
        }
        witness_.note_read(node.inode, entry.name, before, same_content, texture, input_.source);
    }
    return true;
}

WalkWorker::Saved WalkWorker::save_file(Entry& entry, const struct statx* listed) {
    if (listed != nullptr && (keep_unchanged_file(entry, *listed) ||
                              keep_old_file(entry, *listed) || keep_resumed_file(entry, *listed)))
        return Saved::done;
    UniqueFd fd;
    struct statx status, after;
    std::uint64_t size = 0;
    bool stable = false, is_settled = true;
    bool is_held = may_be_written(entry.directory, entry.name);
    for (int reading = 1; reading <= SourceReader::kMostReadings && !stable; ++reading) {
        if (reading > 1) walk_.source.pause(reading);
        if (ended() || walk_.stop.stop_requested()) return Saved::done;
        int error = walk_.source.open(entry.place, SourceReader::kFile, fd);
        if (error == -ELOOP || error == -ENXIO || error == -EISDIR) return Saved::type_changed;
        if (error == -ENOENT && entry.target == nullptr) {
            if (entry.before != nullptr) parent_.note_gone(*entry.before, true);
            return Saved::done;
        }
        if (error == 0) error = fs_.status(fd.get(), "", AT_EMPTY_PATH, status);
        if (error < 0) return except(entry, -error, "open"), Saved::done;
        if (!S_ISREG(status.stx_mode)) return Saved::type_changed;
        if (listed == nullptr && is_left_out(entry, status)) return Saved::done;
        if (reading == 1) count_replaced(entry, NodeType::file);
        if (status.stx_size > kSmallFile)
            return wait_for_large(entry, std::max<std::uint64_t>(size, status.stx_size)),
                   Saved::done;
        error = walk_.source.prepare(fd.get(), is_held, status, is_settled);
        if (error < 0) return except(entry, -error, "stat"), Saved::done;
        if (failpoint("read.begin")) return except(entry, EIO, "read"), Saved::done;
        // Settling takes time, and looks again: the file may have outgrown the buffer.
        if (status.stx_size > kSmallFile)
            return wait_for_large(entry, std::max<std::uint64_t>(size, status.stx_size)),
                   Saved::done;
        // One byte more than there should be shows a file that grows. A read that comes back
        // short has met the end.
        size = 0;
        small_.resize(kSmallFile + 1);
        std::size_t wanted = status.stx_size == 0 ? kSmallFile + 1 : status.stx_size + 1;
        for (bool at_end = false; !at_end && size < wanted;) {
            ssize_t got = fs_.read(fd.get(), MutableByteView(small_).subspan(size, wanted - size));
            if (got < 0) return except(entry, static_cast<int>(-got), "read"), Saved::done;
            size += static_cast<std::uint64_t>(got);
            at_end = got == 0 || (size == status.stx_size && size > 0);
        }
        if (size > kSmallFile)
            return wait_for_large(entry, std::max<std::uint64_t>(size, status.stx_size)),
                   Saved::done;
        if (failpoint("read.end")) return except(entry, EIO, "read"), Saved::done;
        if (error = fs_.status(fd.get(), "", AT_EMPTY_PATH, after); error < 0)
            return except(entry, -error, "stat"), Saved::done;
        // Files of /proc have no size and yet content.
        bool whole = size == status.stx_size || status.stx_size == 0;
        stable = whole && SourceReader::same_state(status, after);
    }
    BlobId id;
    std::uint64_t stored = 0;
    const ByteView content = ByteView(small_).first(size);
    if (size > 0 && !save_blob(BlobType::data, content, id, &stored)) return Saved::done;
    ++counts_.files_read;
    counts_.bytes_read += size;
    walk_.bytes_read.fetch_add(size, std::memory_order_relaxed);
    bytes_noted_ += size;
    if (!stable)
        except(path_of_entry(entry), Error(ErrorKind::transient, "changed while being read"));
    if (!stable || !is_settled) note_unsettled(entry.directory, entry.name);
    NodeFields node = fields(entry.name, status);
    node.size = size;
    node.content = std::span(&id, size > 0 ? 1 : 0);
    node.xattr_json = xattrs_of(entry, status, fd.get());
    bool same = add_node(entry, node);
    note_file(entry.before, same, size);
    if (input_.parent_tree) {
        const RawNode* before = entry.before;
        bool same_content = before != nullptr && before->has_content &&
                            before->content_count() == node.content.size() &&
                            (size == 0 || before->content_id(0) == id);
        witness_.note_read(node.inode, entry.name, before, same_content,
                           texture_of(size, stored, content), input_.source);
    }
    return Saved::done;
}

WalkWorker::Saved WalkWorker::save_other(Entry& entry, const struct statx& status) {
    std::array<char, PATH_MAX + 1> link;
    NodeFields node = fields(entry.name, status);
    switch (status.stx_mode & S_IFMT) {
        case S_IFLNK: {
            ssize_t size =
                fs_.read_link(entry.place.directory, entry.place.name,
                              {reinterpret_cast<std::uint8_t*>(link.data()), link.size()});
            if (size == -EINVAL || size == -ENOENT) return Saved::type_changed;
            if (size < 0) return except(entry, static_cast<int>(-size), "readlink"), Saved::done;
            node.link_target = {link.data(), static_cast<std::size_t>(size)};
            break;
        }
        case S_IFCHR:
        case S_IFBLK:
        case S_IFIFO:
            break;
        case S_IFSOCK:  // lives only as long as the program that made it
            return Saved::done;
        default:
            except(path_of_entry(entry),
                   Error(ErrorKind::invalid, ErrorCode::unsupported, "unknown type of file"));
            return Saved::done;
    }
    count_replaced(entry, node.type);
    node.xattr_json = xattrs_of(entry, status, -1);
    add_node(entry, node);
    ++items_noted_;
    return Saved::done;
}

// Whether the last change had been made for long enough when the parent revision was read: else a
// later one may have the same ctime, which is in whole seconds on some file systems.
bool WalkWorker::was_settled(const struct statx& status) const {
    constexpr Duration kCoarsest = std::chrono::milliseconds(2100);
    Timestamp changed{std::chrono::seconds(status.stx_ctime.tv_sec) +
                      std::chrono::nanoseconds(status.stx_ctime.tv_nsec)};
    return changed < input_.parent_time - kCoarsest;
}

bool WalkWorker::is_unproven(const Entry& entry, const struct statx& status) {
    const Reread* reread = input_.reread;
    if (reread == nullptr || status.stx_size == 0) return false;
    const FileTime changed{status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec};
    return entry.target != nullptr || changed >= reread->since ||
           reread->inodes.contains(status.stx_ino) ||
           (!reread->paths.empty() && reread->paths.contains(path_of_entry(entry)));
}

// As JSON. Read anew only if they can have changed.
std::string_view WalkWorker::xattrs_of(Entry& entry, const struct statx& status, int fd) {
    if (entry.before != nullptr && !input_.full && !entry.before->head.empty() &&
        same_change(*entry.before, status) && was_settled(status))
        return entry.before->xattr_json;
    bool follow = entry.follows_links();
    auto found = fd >= 0 ? xattrs_.read(fd)
                         : xattrs_.read_at(entry.place.directory, entry.place.name, follow);
    note_xattr_failures(entry);
    xattr_json_.clear();
    if (!found.empty()) encoder_.append_xattrs(found, xattr_json_);
    return xattr_json_;
}

void WalkWorker::note_xattr_failures(const Entry& entry) {
    for (const XattrReader::Failure& failure : xattrs_.failures()) {
        // Directories above the paths of the set are often not ours to read.
        bool above = entry.target != nullptr && !entry.target->is_wanted();
        if (above && (failure.error == EACCES || failure.error == EPERM)) continue;
        if (failure.error == ENOENT) continue;  // vanished
        except(path_of_entry(entry), xattr_error(failure));
    }
}

Error WalkWorker::xattr_error(const XattrReader::Failure& failure) {
    std::string name = printable(failure.attribute);
    if (failure.error == EILSEQ)
        return Error(
            ErrorKind::invalid, ErrorCode::unsupported,
            "extended attribute " + name + ": the name is not UTF-8 and cannot be kept as it is");
    return Error::from_errno(failure.error, name.empty() ? "list extended attributes"
                                                         : "read extended attribute " + name);
}

bool WalkWorker::may_be_written(const Directory& directory, std::string_view name) {
    if (input_.look_at == nullptr) return false;
    entry_path_ = directory_path(directory);
    append_path(entry_path_, name);
    return input_.look_at->may_be_written(entry_path_);
}

void WalkWorker::note_unsettled(const Directory& directory, std::string_view name) {
    if (!input_.unsettled && input_.checkpoints == nullptr) return;
    entry_path_ = directory_path(directory);
    append_path(entry_path_, name);
    if (input_.checkpoints != nullptr) {
        std::lock_guard lock(walk_.mutex);
        walk_.unsettled.push_back(entry_path_);
    }
    if (input_.unsettled) input_.unsettled(entry_path_);
}

void WalkWorker::except(const Entry& entry, int error, const char* action) {
    if (error == EMFILE || error == ENFILE || error == ENOMEM) {
        // Not the fault of this file: all that follow would be left out, too.
        walk_.queue.fail(Error::from_errno(error, std::string(action) + " a source file"));
        return;
    }
    if (input_.measure != nullptr) return;
    if (input_.survey != nullptr) {
        has_counterpart_ = true;
        bool was_directory = entry.before != nullptr && entry.before->type == NodeType::dir;
        return tell(entry, SurveyFinding::Kind::unreadable, was_directory);
    }
    except(path_of_entry(entry), Error::from_errno(error, action));
}

void WalkWorker::except(std::string path, Error error) {
    input_.exceptions.add(std::move(path), std::move(error));
}

}  // namespace backup
