#include "tests/unit/tracking/recorded_source.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/watch/kernel_handle.h"

namespace backup {

namespace {

std::string parent(const std::string& path) {
    return path.substr(0, path.rfind('/'));
}
std::string name(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}
bool is_below(const std::string& path, const std::string& above) {
    return path == above || path.starts_with(above + "/");
}
std::optional<struct stat> status(const std::string& path) {
    struct stat found {};
    if (lstat(path.c_str(), &found) != 0) return std::nullopt;
    return found;
}
bool is_directory(const std::string& path) {
    auto found = status(path);
    return found && S_ISDIR(found->st_mode);
}

}  // namespace

RecordedSource::RecordedSource() {
    char resolved[PATH_MAX];
    base_ = realpath(folder_.path().c_str(), resolved);
    inside_ = base_ + "/set";
    outside_ = base_ + "/out";
    ::mkdir(inside_.c_str(), 0755);
    ::mkdir(outside_.c_str(), 0755);
}

ObjectHandle RecordedSource::handle(const std::string& path) {
    return handle_of(AT_FDCWD, path.c_str()).value_or("");
}

void RecordedSource::record_name(const std::string& path, bool content) {
    ObjectHandle directory = handle(parent(path));
    for (WatchBatch::Name& known : batch_.names) {
        if (known.directory != directory || known.name != name(path)) continue;
        known.content = known.content || content;
        return;
    }
    batch_.names.push_back({directory, name(path), content, false});
}

void RecordedSource::record_object(const std::string& path) {
    batch_.objects.push_back(handle(path));
}

// The link count changed under the other names, which nobody tells.
void RecordedSource::record_other_names(const std::string& path) {
    auto found = status(path);
    if (found && !S_ISDIR(found->st_mode) && found->st_nlink > 1) record_object(path);
}

void RecordedSource::record_move(const std::string& from, const std::string& to,
                                 const ObjectHandle& object) {
    WatchBatch::DirectoryMove move;
    move.kind = WatchBatch::DirectoryMove::Kind::moved;
    move.object = hide_moved_objects ? "" : object;
    move.from_directory = handle(parent(from));
    move.from_name = name(from);
    move.to_directory = handle(parent(to));
    move.to_name = name(to);
    bool comes_in = !is_below(from, inside_) && is_below(to, inside_);
    if (hide_old_places && comes_in) {
        move.kind = WatchBatch::DirectoryMove::Kind::arrived;
        move.from_directory.clear();
        move.from_name.clear();
    }
    batch_.moves.push_back(move);
}

bool RecordedSource::write(const std::string& path, const std::string& content, bool by_handle) {
    bool is_new = !status(path);
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!fd || ::write(fd.get(), content.data(), content.size()) < 0) return false;
    log.push_back("write " + path);
    if (by_handle && !is_new)
        record_object(path);
    else
        record_name(path, true);
    return true;
}

bool RecordedSource::make_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0755) != 0) return false;
    log.push_back("mkdir " + path);
    WatchBatch::DirectoryMove move;
    move.kind = WatchBatch::DirectoryMove::Kind::born;
    move.object = handle(path);
    move.to_directory = handle(parent(path));
    move.to_name = name(path);
    batch_.moves.push_back(move);
    return true;
}

bool RecordedSource::rename(const std::string& from, const std::string& to) {
    bool of_directory = is_directory(from);
    ObjectHandle object = handle(from);
    if (object.empty() || from == inside_ || from == outside_) return false;
    auto before = status(from), replaced = status(to);
    if (replaced && replaced->st_ino == before->st_ino) return false;  // names of one file: nothing
    ObjectHandle victim = replaced && !S_ISDIR(replaced->st_mode) ? handle(to) : "";
    if (::rename(from.c_str(), to.c_str()) != 0) return false;
    log.push_back("rename " + from + " " + to);
    if (of_directory) {
        record_move(from, to, object);
    } else {
        record_name(from, false);
        record_name(to, false);
        record_other_names(to);
    }
    if (!victim.empty()) batch_.objects.push_back(victim);
    return true;
}

bool RecordedSource::exchange(const std::string& a, const std::string& b) {
    ObjectHandle of_a = handle(a), of_b = handle(b);
    if (of_a == of_b || ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) != 0)
        return false;
    log.push_back("exchange " + a + " " + b);
    auto record = [&](const std::string& from, const std::string& to, const ObjectHandle& object) {
        if (is_directory(to)) return record_move(from, to, object);
        record_name(from, false);
        record_name(to, false);
        record_other_names(to);
    };
    record(a, b, of_a);
    record(b, a, of_b);
    return true;
}

bool RecordedSource::link(const std::string& from, const std::string& to) {
    if (is_directory(from) || ::link(from.c_str(), to.c_str()) != 0) return false;
    log.push_back("link " + from + " " + to);
    record_name(to, false);
    record_object(from);
    return true;
}

bool RecordedSource::symlink(const std::string& target, const std::string& path) {
    if (::symlink(target.c_str(), path.c_str()) != 0) return false;
    log.push_back("symlink " + path);
    record_name(path, false);
    return true;
}

bool RecordedSource::change_mode(const std::string& path, bool by_handle) {
    auto found = status(path);
    if (!found || S_ISLNK(found->st_mode)) return false;
    if (::chmod(path.c_str(), (found->st_mode & 07777) ^ 0020) != 0) return false;
    log.push_back("chmod " + path);
    if (S_ISDIR(found->st_mode) && (by_handle || path == inside_ || path == outside_))
        batch_.directories.push_back(handle(path));
    else if (by_handle)
        record_object(path);
    else
        record_name(path, false);
    return true;
}

bool RecordedSource::remove(const std::string& path) {
    auto found = status(path);
    if (!found) return false;
    if (S_ISDIR(found->st_mode)) {
        std::vector<std::string> below;
        for (const auto& entry : std::filesystem::directory_iterator(path))
            below.push_back(entry.path());
        for (const std::string& entry : below) remove(entry);
        if (::rmdir(path.c_str()) != 0) return false;
    } else {
        record_other_names(path);
        if (::unlink(path.c_str()) != 0) return false;
    }
    log.push_back("remove " + path);
    record_name(path, false);
    return true;
}

std::vector<std::string> RecordedSource::directories() const {
    std::vector<std::string> all{inside_, outside_};
    for (std::size_t i = 0; i < all.size(); ++i) {
        std::error_code vanished;
        std::vector<std::string> found;
        for (const auto& entry : std::filesystem::directory_iterator(all[i], vanished))
            if (entry.is_directory(vanished) && !entry.is_symlink(vanished))
                found.push_back(entry.path());
        std::ranges::sort(found);
        all.insert(all.end(), found.begin(), found.end());
    }
    return all;
}

// Anything but the two at the top; empty if there is nothing.
std::string RecordedSource::random_entry(std::mt19937_64& random) const {
    std::vector<std::string> all;
    for (const std::string& directory : directories())
        for (const auto& entry : std::filesystem::directory_iterator(directory))
            all.push_back(entry.path());
    if (all.empty()) return {};
    std::ranges::sort(all);
    return all[random() % all.size()];
}

// Few names, so that they meet again and again.
std::string RecordedSource::new_entry(std::mt19937_64& random) const {
    static const std::vector<std::string> kNames = {"a", "b", "c", "d", "e", "f.o", "g h", "\xff"};
    auto all = directories();
    std::string directory = all[random() % all.size()];
    bool too_deep = std::ranges::count(directory, '/') > std::ranges::count(inside_, '/') + 5;
    if (too_deep || random() % 4 == 0) directory = random() % 5 == 0 ? outside_ : inside_;
    if (random() % 60 == 0) return directory + "/CACHEDIR.TAG";
    return directory + "/" + kNames[random() % kNames.size()];
}

void RecordedSource::random_step(std::mt19937_64& random) {
    std::string there = random_entry(random), place = new_entry(random);
    std::string content =
        std::string(random() % 3 == 0 ? 5 : 1 + random() % 200, 'x') + std::to_string(++written_);
    if (there.empty()) there = place;
    if (name(place) == "CACHEDIR.TAG") {
        if (random() % 2 == 0) return void(remove(place));
        return void(write(place, "Signature: 8a477f597d28d172789f06886806bc55\n"));
    }
    bool is_file = !is_directory(there);
    switch (random() % 24) {
        case 0:
        case 1:
        case 2:
            return void(write(place, content));
        case 3:
        case 4:
            if (is_file) write(there, content, random() % 4 == 0);
            return;
        case 5:
        case 6:
        case 7:
            return void(make_directory(place));
        case 8:
        case 9:
        case 10:
        case 11:
            return void(rename(there, place));
        case 12:
        case 13: {
            // A directory: they are what is hard.
            auto all = directories();
            return void(rename(all[random() % all.size()], place));
        }
        case 14:
            return void(exchange(there, place));
        case 15: {
            auto all = directories();
            std::string a = all[random() % all.size()], b = all[random() % all.size()];
            if (a != inside_ && b != inside_ && a != outside_ && b != outside_) exchange(a, b);
            return;
        }
        case 16:
        case 17:
            return void(link(there, place));
        case 18:
            return void(remove(there));
        case 19:
            if (is_file) return void(remove(there));
            // The same name, another directory; on many file systems the same inode.
            if (remove(there)) make_directory(there);
            return;
        case 20:
            return void(change_mode(there, random() % 3 == 0));
        case 21:
            return void(symlink("target" + std::to_string(written_), place));
        case 22: {
            auto all = directories();
            return void(change_mode(all[random() % all.size()], true));
        }
        case 23: {
            // There and back.
            if (rename(there, place)) rename(place, there);
            return;
        }
    }
}

WatchBatch RecordedSource::take() {
    return std::exchange(batch_, {});
}

RecordedSource::Where RecordedSource::where(const ObjectHandle& directory) const {
    auto path = path_of(directory);
    if (!path) return Where::unknown;
    return is_below(*path, inside_) ? Where::inside : Where::outside;
}

bool RecordedSource::keep_inside(WatchBatch& batch) const {
    auto is_not_inside = [&](const ObjectHandle& handle) { return where(handle) != Where::inside; };
    std::erase_if(batch.names, [&](const WatchBatch::Name& one) {
        auto directory = path_of(one.directory);
        if (directory && is_below(*directory, inside_)) return false;
        // Another name of the file may be inside.
        std::string path = directory.value_or("") + "/" + one.name;
        auto found = status(path);
        if (directory && found && !S_ISDIR(found->st_mode) && found->st_nlink > 1)
            batch.objects.push_back(handle(path));
        return true;
    });
    std::erase_if(batch.relist, is_not_inside);
    std::erase_if(batch.directories, is_not_inside);
    bool left = false;
    std::erase_if(batch.moves, [&](const WatchBatch::DirectoryMove& move) {
        auto place = [&](const ObjectHandle& handle) {
            return handle.empty() ? Where::outside : where(handle);
        };
        Where from = place(move.from_directory), to = place(move.to_directory);
        if (from == Where::outside && to == Where::outside) return true;
        if (to != Where::inside) left = true;
        return false;
    });
    return left;
}

std::optional<std::string> RecordedSource::path_of(const ObjectHandle& directory) const {
    KernelHandle kernel;
    if (!kernel.assign(directory)) {
        for (const std::string& path : directories())
            if (handle(path) == directory) return path;
        return std::nullopt;
    }
    UniqueFd base(::open(base_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    UniqueFd found(::open_by_handle_at(base.get(), kernel.get(), O_PATH | O_CLOEXEC));
    if (!found) return std::nullopt;
    char path[PATH_MAX];
    std::string link = "/proc/self/fd/" + std::to_string(found.get());
    ssize_t length = ::readlink(link.c_str(), path, sizeof path);
    if (length <= 0) return std::nullopt;
    std::string text(path, static_cast<std::size_t>(length));
    if (!is_below(text, base_) || handle(text) != directory || !is_directory(text))
        return std::nullopt;
    return text;
}

std::optional<Watcher::ObjectFacts> RecordedSource::facts_of(const ObjectHandle& object) const {
    KernelHandle kernel;
    if (!kernel.assign(object)) return std::nullopt;
    UniqueFd base(::open(base_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    UniqueFd found(::open_by_handle_at(base.get(), kernel.get(), O_PATH | O_CLOEXEC));
    struct stat now {};
    if (!found || fstat(found.get(), &now) != 0) return std::nullopt;
    return Watcher::ObjectFacts{now.st_dev, now.st_ino, now.st_nlink, S_ISDIR(now.st_mode)};
}

HandleResolver RecordedSource::resolver() const {
    HandleResolver resolver;
    resolver.path_of = [this](const VolumeId&, const ObjectHandle& handle) {
        auto path = path_of(handle);
        return path && hide_outside && !is_below(*path, inside_) ? std::nullopt : path;
    };
    resolver.facts_of = [this](const VolumeId&, const ObjectHandle& handle) {
        return facts_of(handle);
    };
    resolver.open = [this](const VolumeId&, const ObjectHandle& handle) -> UniqueFd {
        KernelHandle kernel;
        if (!kernel.assign(handle)) return {};
        UniqueFd base(::open(base_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        return UniqueFd(::open_by_handle_at(base.get(), kernel.get(), O_PATH | O_CLOEXEC));
    };
    return resolver;
}

}  // namespace backup
