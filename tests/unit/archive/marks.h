// Marks is a LookAt for tests: what change tracking would say about paths that were touched.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/archive/backup.h"

namespace backup {

class Marks final : public LookAt {
  public:
    // `top`: the path of the set; directories above are looked at anyway.
    explicit Marks(std::string top) : top_(std::move(top)) {}

    // The name is looked up again, and so are the directories above it.
    void touch(const std::string& name) {
        for (std::string path = top_ + "/" + name; path != top_;) {
            std::size_t slash = path.rfind('/');
            std::vector<std::string>& names = marked_[path.substr(0, slash)];
            std::string last = path.substr(slash + 1);
            if (std::ranges::find(names, last) == names.end()) names.push_back(last);
            path.resize(slash);
        }
    }
    void list(const std::string& name) {
        touch(name);
        whole_.insert(top_ + "/" + name);
    }
    void moved(const std::string& from, const std::string& to) {
        touch(from);
        touch(to);
        was_[top_ + "/" + to] = top_ + "/" + from;
    }
    void held(const std::string& name) {
        touch(name);
        read_.insert(top_ + "/" + name);
        held_.insert(top_ + "/" + name);
    }

    Directory directory(const std::string& path) const override {
        if (whole_.contains(path)) return Directory::all;
        return marked_.contains(path) ? Directory::entries : Directory::untouched;
    }
    std::vector<std::string> entries(const std::string& path) const override {
        return marked_.at(path);
    }
    bool must_read(const std::string& path) const override { return read_.contains(path); }
    std::optional<std::string> was_at(const std::string& path) const override {
        auto found = was_.find(path);
        return found != was_.end() ? std::optional(found->second) : std::nullopt;
    }
    bool may_be_written(const std::string& path) const override { return held_.contains(path); }

  private:
    const std::string top_;
    std::map<std::string, std::vector<std::string>> marked_;
    std::set<std::string> whole_, read_, held_;
    std::map<std::string, std::string> was_;
};

}  // namespace backup
