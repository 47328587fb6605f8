#include "daemon/archive/admission.h"

#include <algorithm>

#include "daemon/policy/limit_rules.h"

namespace backup {

namespace {

std::uint64_t less(std::uint64_t from, std::uint64_t what) {
    return from - std::min(from, what);
}

std::uint64_t plus(std::uint64_t a, std::uint64_t b) {
    return a > Admission::kNoLimit - b ? Admission::kNoLimit : a + b;
}

// Takes from what is left; false: there is not enough, and nothing is taken.
bool take(std::atomic<std::uint64_t>& left, std::uint64_t amount) {
    std::uint64_t now = left.load(std::memory_order_relaxed);
    if (now == Admission::kNoLimit) return true;
    do {
        if (now < amount) return false;
    } while (!left.compare_exchange_weak(now, now - amount, std::memory_order_relaxed));
    return true;
}

std::string value_of(const Limits& limits, std::string_view name) {
    for (const LimitName& limit : kLimits)
        if (limit.name == name) return format_limit(limit, limits.hard.*limit.member);
    return {};
}

}  // namespace

bool comes_before(std::string_view a, std::string_view b) {
    for (;;) {
        while (a.starts_with('/')) a.remove_prefix(1);
        while (b.starts_with('/')) b.remove_prefix(1);
        const std::size_t end_a = std::min(a.find('/'), a.size());
        const std::size_t end_b = std::min(b.find('/'), b.size());
        const std::string_view name_a = a.substr(0, end_a), name_b = b.substr(0, end_b);
        const bool is_last_a = end_a == a.size(), is_last_b = end_b == b.size();
        if (name_a != name_b || is_last_a || is_last_b) {
            if (is_last_a != is_last_b) return is_last_a;
            return name_a < name_b;
        }
        a.remove_prefix(end_a);
        b.remove_prefix(end_b);
    }
}

Admission::Admission(const Limits& limits, const Measured& measured,
                     std::optional<std::uint64_t> churn_before, ExceptionLog* exceptions)
    : limits_(limits), measured_(measured), exceptions_(exceptions) {
    const LimitValues& hard = limits.hard;
    if (hard.items != 0)
        new_.items = less(std::max(hard.items, measured.parent_items), measured.kept_items);
    if (hard.bytes != 0) {
        const std::uint64_t most = std::max(hard.bytes, measured.parent_bytes);
        new_.bytes = less(most, measured.kept_bytes_now);
        if (measured.kept_bytes_now > most) changed_.bytes = less(most, measured.kept_bytes_before);
    }
    if (hard.churn != 0 && churn_before) {
        const std::uint64_t left = less(hard.churn, *churn_before);
        new_.churn = less(left, measured.changed_bytes);
        if (measured.changed_bytes > left) changed_.churn = left;
    }
    fits_ = measured.new_items <= new_.items && measured.new_bytes <= new_.bytes &&
            measured.new_bytes <= new_.churn && changed_.bytes == kNoLimit &&
            changed_.churn == kNoLimit;
    if (fits_) {
        taken_items_ = measured.new_items;
        taken_bytes_ = measured.new_bytes;
        taken_churn_ = measured.churn();
    }
    items_left_ = new_.items;
    bytes_left_ = std::min(new_.bytes, new_.churn);
    if (measured.too_large_files != 0) hit_.insert("file-size");
}

// A file that was larger in the last revision may be as large as it was there.
const char* Admission::over_for_file(std::uint64_t size, std::uint64_t size_before) const {
    const std::uint64_t most = std::max(limits_.hard.file_size, size_before);
    return limits_.hard.file_size != 0 && size > most ? "file-size" : nullptr;
}

void Admission::refuse(const std::string& path, const char* limit, bool is_change) {
    hit_.insert(limit);
    auto& cut = is_change ? cut_changed_ : cut_new_;
    auto& cut_limit = is_change ? cut_changed_limit_ : cut_new_limit_;
    if (refused_.size() < kMostNamed && limit != std::string_view("items")) {
        refused_.emplace(path, limit);
        return;
    }
    cut = path;
    cut_limit = limit;
}

void Admission::plan_new(const std::string& path, bool is_file, std::uint64_t size) {
    if (cut_new_) return;
    if (new_.items == 0) return refuse(path, "items", false);
    const std::uint64_t bytes = is_file ? size : 0;
    if (bytes > new_.bytes) return refuse(path, "bytes", false);
    if (bytes > new_.churn) return refuse(path, "churn", false);
    if (new_.items != kNoLimit) --new_.items;
    if (new_.bytes != kNoLimit) new_.bytes -= bytes;
    if (new_.churn != kNoLimit) new_.churn -= bytes;
    ++taken_items_;
    taken_bytes_ += bytes;
    taken_churn_ += bytes;
}

void Admission::plan_fixed(std::uint64_t size) {
    if (new_.items != kNoLimit) new_.items = less(new_.items, 1);
    if (new_.bytes != kNoLimit) new_.bytes = less(new_.bytes, size);
    if (new_.churn != kNoLimit) new_.churn = less(new_.churn, size);
    ++taken_items_;
    taken_bytes_ += size;
    taken_churn_ += size;
}

void Admission::plan_too_large(const std::string& path) {
    hit_.insert("file-size");
    if (refused_.size() < kMostNamed) refused_.emplace(path, "file-size");
}

void Admission::plan_change(const std::string& path, std::uint64_t size_before,
                            std::uint64_t size) {
    if (cut_changed_) return;
    const std::uint64_t growth = less(size, size_before);
    if (growth > changed_.bytes) return refuse(path, "bytes", true);
    if (size > changed_.churn) return refuse(path, "churn", true);
    if (changed_.bytes != kNoLimit) changed_.bytes -= growth;
    if (changed_.churn != kNoLimit) changed_.churn -= size;
    taken_churn_ += size;
}

bool Admission::admits_new(const std::string& path, bool is_file, std::uint64_t size) {
    const char* limit = is_file ? over_for_file(size, 0) : nullptr;
    const bool is_too_large = limit != nullptr;
    if (limit == nullptr && !refused_.empty())
        if (auto found = refused_.find(path); found != refused_.end()) limit = found->second;
    if (limit == nullptr && cut_new_ && !comes_before(path, *cut_new_)) limit = cut_new_limit_;
    bool is_late = false;
    if (limit == nullptr) {
        // The source may have grown since it was measured.
        if (!take(items_left_, 1)) {
            limit = "items";
        } else if (is_file && size != 0 && !take(bytes_left_, size)) {
            limit = limits_.hard.bytes != 0 ? "bytes" : "churn";
            if (items_left_ != kNoLimit) ++items_left_;
        }
        is_late = limit != nullptr;
    }
    if (limit == nullptr) return true;
    if (is_late && !is_too_large) {
        std::lock_guard lock(mutex_);
        ++late_items_;
        late_bytes_ += is_file ? size : 0;
    }
    list(path, limit, false);
    return false;
}

void Admission::came_anyway(std::uint64_t size) {
    take(items_left_, std::min<std::uint64_t>(items_left_, 1));
    if (!take(bytes_left_, size)) bytes_left_ = 0;
}

bool Admission::admits_change(const std::string& path, std::uint64_t size_before,
                              std::uint64_t size) {
    const char* limit = over_for_file(size, size_before);
    if (limit == nullptr && !refused_.empty())
        if (auto found = refused_.find(path); found != refused_.end()) limit = found->second;
    if (limit == nullptr && cut_changed_ && !comes_before(path, *cut_changed_))
        limit = cut_changed_limit_;
    if (limit == nullptr) return true;
    list(path, limit, true);
    return false;
}

void Admission::tell_plan(
    const std::function<void(const std::string& path, const char* limit, bool all)>& each) const {
    std::vector<std::pair<std::string, const char*>> refused(refused_.begin(), refused_.end());
    std::ranges::sort(refused,
                      [](const auto& a, const auto& b) { return comes_before(a.first, b.first); });
    for (const auto& [path, limit] : refused) each(path, limit, false);
    if (cut_changed_) each(*cut_changed_, cut_changed_limit_, true);
    if (cut_new_) each(*cut_new_, cut_new_limit_, true);
}

void Admission::list(const std::string& path, const char* limit, bool is_change) {
    const std::size_t slash = path.rfind('/');
    std::unique_lock lock(mutex_);
    hit_.insert(limit);
    if (is_change) ++kept_old_;
    if (exceptions_ == nullptr) return;
    if (++listed_ > kMostListed) {
        std::string directory = slash == 0 ? "/" : path.substr(0, slash);
        if (!is_anywhere_ && directories_.insert(std::move(directory)).second &&
            directories_.size() > kMostDirectories) {
            is_anywhere_ = true;
            directories_.clear();
        }
        return;
    }
    lock.unlock();
    const std::string what =
        is_change ? "its new content is not in this revision, the last one is: " : "left out: ";
    exceptions_->add(path, Error(ErrorKind::no_space, ErrorCode::quota_exceeded,
                                 what + "it is beyond the set's limit of " + limit + " (" +
                                     value_of(limits_, limit) + ")"));
}

LimitReport Admission::report() const {
    std::lock_guard lock(mutex_);
    LimitReport report;
    for (const LimitName& limit : kLimits)
        if (hit_.contains(std::string(limit.name))) report.hit.emplace_back(limit.name);
    report.left_out_items =
        plus(less(measured_.new_items, taken_items_) + measured_.too_large_files, late_items_);
    report.left_out_bytes =
        plus(less(measured_.new_bytes, taken_bytes_) + measured_.too_large_bytes, late_bytes_);
    report.kept_old = kept_old_;
    report.listed = std::min<std::uint64_t>(listed_, kMostListed);
    report.large_files = measured_.large_files;
    report.churn_bytes = less(taken_churn_, late_bytes_);
    report.directories.assign(directories_.begin(), directories_.end());
    report.is_anywhere = is_anywhere_;
    return report;
}

}  // namespace backup
