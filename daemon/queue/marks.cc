#include "daemon/queue/marks.h"

#include <functional>

namespace backup {

namespace {

// Searching so few is as fast as any table.
constexpr std::size_t kFewNames = 12;

std::size_t hash_of(std::string_view name) {
    return std::hash<std::string_view>{}(name);
}

std::size_t heap_bytes(const std::string& text) {
    return text.capacity() > 15 ? text.capacity() + 1 : 0;
}

}  // namespace

NameMarks::NameMarks(const NameMarks& other) : entries_(other.entries_) {
    if (other.table_) table_ = std::make_unique<std::vector<std::uint32_t>>(*other.table_);
}

NameMarks& NameMarks::operator=(const NameMarks& other) {
    if (this != &other) *this = NameMarks(other);
    return *this;
}

std::size_t NameMarks::position(std::string_view name) const {
    if (!table_) {
        for (std::size_t i = 0; i < entries_.size(); ++i)
            if (entries_[i].name == name) return i;
        return entries_.size();
    }
    const std::vector<std::uint32_t>& table = *table_;
    std::size_t mask = table.size() - 1;
    for (std::size_t place = hash_of(name) & mask; table[place] != 0; place = (place + 1) & mask)
        if (entries_[table[place] - 1].name == name) return table[place] - 1;
    return entries_.size();
}

const Mark* NameMarks::find(std::string_view name) const {
    std::size_t found = position(name);
    return found < entries_.size() ? &entries_[found].mark : nullptr;
}

Mark* NameMarks::find(std::string_view name) {
    std::size_t found = position(name);
    return found < entries_.size() ? &entries_[found].mark : nullptr;
}

Mark& NameMarks::at(std::string_view name) {
    std::size_t found = position(name);
    if (found < entries_.size()) return entries_[found].mark;
    // The usual directory has one marked name, or a handful: no slack for it.
    if (entries_.empty()) entries_.reserve(1);
    entries_.push_back({std::string(name), {}});
    if (!table_ || entries_.size() * 2 > table_->size())
        build_table();
    else
        insert_into_table(entries_.size() - 1);
    return entries_.back().mark;
}

void NameMarks::forget_slack() {
    if (entries_.capacity() > 4 * entries_.size()) entries_.shrink_to_fit();
    build_table();
}

void NameMarks::build_table() {
    if (entries_.size() <= kFewNames) {
        table_.reset();
        return;
    }
    std::size_t places = 64;
    while (places < entries_.size() * 3) places *= 2;
    table_ = std::make_unique<std::vector<std::uint32_t>>(places);
    for (std::size_t i = 0; i < entries_.size(); ++i) insert_into_table(i);
}

void NameMarks::insert_into_table(std::size_t position) {
    std::vector<std::uint32_t>& table = *table_;
    std::size_t mask = table.size() - 1;
    std::size_t place = hash_of(entries_[position].name) & mask;
    while (table[place] != 0) place = (place + 1) & mask;
    table[place] = static_cast<std::uint32_t>(position + 1);
}

std::size_t NameMarks::memory_bytes() const {
    std::size_t bytes = entries_.capacity() * sizeof(Entry);
    for (const Entry& entry : entries_) bytes += heap_bytes(entry.name);
    if (table_) bytes += sizeof(*table_) + table_->capacity() * sizeof(std::uint32_t);
    return bytes;
}

DirectoryMarks::DirectoryMarks(const DirectoryMarks& other) : names(other.names) {
    if (other.wholes_) wholes_ = std::make_unique<std::array<Mark, 3>>(*other.wholes_);
}

DirectoryMarks& DirectoryMarks::operator=(const DirectoryMarks& other) {
    if (this != &other) *this = DirectoryMarks(other);
    return *this;
}

const Mark* DirectoryMarks::whole(Whole which) const {
    if (!wholes_) return nullptr;
    const Mark& mark = (*wholes_)[static_cast<std::size_t>(which)];
    return mark.generation != 0 ? &mark : nullptr;
}

Mark* DirectoryMarks::whole(Whole which) {
    if (!wholes_) return nullptr;
    Mark& mark = (*wholes_)[static_cast<std::size_t>(which)];
    return mark.generation != 0 ? &mark : nullptr;
}

Mark& DirectoryMarks::make(Whole which) {
    if (!wholes_) wholes_ = std::make_unique<std::array<Mark, 3>>();
    return (*wholes_)[static_cast<std::size_t>(which)];
}

void DirectoryMarks::erase(Whole which) {
    if (!wholes_) return;
    (*wholes_)[static_cast<std::size_t>(which)] = {};
    for (Whole each : kWholes)
        if (whole(each) != nullptr) return;
    wholes_.reset();
}

bool DirectoryMarks::empty() const {
    return names.empty() && !wholes_;
}

std::uint64_t DirectoryMarks::count() const {
    std::uint64_t count = names.size();
    for (Whole each : kWholes) count += whole(each) != nullptr ? 1 : 0;
    return count;
}

std::size_t DirectoryMarks::memory_bytes() const {
    return names.memory_bytes() + (wholes_ ? sizeof(*wholes_) : 0);
}

bool VolumeMarks::empty() const {
    return directories.empty() && objects.empty() && !has_everything();
}

std::uint64_t VolumeMarks::count() const {
    std::uint64_t count = objects.size() + (has_everything() ? 1 : 0);
    for (const auto& [handle, marks] : directories) count += marks.count();
    return count;
}

bool FrozenMarks::empty() const {
    for (const auto& [id, marks] : volumes)
        if (!marks.empty()) return false;
    return true;
}

std::uint64_t FrozenMarks::count() const {
    std::uint64_t count = 0;
    for (const auto& [id, marks] : volumes) count += marks.count();
    return count;
}

}  // namespace backup
