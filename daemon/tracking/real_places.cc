#include "daemon/tracking/real_places.h"

#include <algorithm>
#include <array>
#include <climits>
#include <deque>
#include <optional>

#include <unistd.h>

#include "daemon/tracking/scope.h"

namespace backup {

namespace {

constexpr int kMostLinks = 40;  // as the kernel

void put_names(std::deque<std::string>& front, std::string_view path) {
    std::vector<std::string> names;
    for (std::size_t begin = 0; begin < path.size();) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        if (end > begin) names.emplace_back(path.substr(begin, end - begin));
        begin = end + 1;
    }
    front.insert(front.begin(), names.begin(), names.end());
}

// Without following the last name: what a path of a set is, if it is a link, is that link.
std::optional<std::string> without_links(const std::string& path) {
    const std::size_t last = path.rfind('/');
    std::deque<std::string> ahead;
    put_names(ahead, std::string_view(path).substr(0, last));
    std::string done;
    for (int links = 0; !ahead.empty();) {
        const std::string name = std::move(ahead.front());
        ahead.pop_front();
        if (name == ".") continue;
        if (name == "..") {
            done.resize(done.empty() ? 0 : done.rfind('/'));
            continue;
        }
        std::array<char, PATH_MAX> target{};
        const ssize_t size =
            ::readlink((done + "/" + name).c_str(), target.data(), target.size() - 1);
        if (size <= 0) {
            done += "/" + name;
            continue;
        }
        if (++links > kMostLinks) return std::nullopt;
        if (target[0] == '/') done.clear();
        put_names(ahead, std::string_view(target.data(), static_cast<std::size_t>(size)));
    }
    return done + path.substr(last);
}

}  // namespace

RealPlaces::RealPlaces(const std::vector<Path>& paths) {
    for (const Path& path : paths) {
        if (path.is_root()) continue;
        auto real = without_links(path.text());
        if (real && *real != path.text()) real_.emplace(path.text(), std::move(*real));
    }
}

std::string RealPlaces::real(std::string_view named) const {
    for (const auto& [path, real] : real_)
        if (is_at_or_below(named, path)) return real + std::string(named.substr(path.size()));
    return std::string(named);
}

std::string RealPlaces::named(const Path& path, std::string_view real) const {
    auto found = real_.find(path.text());
    if (found == real_.end()) return std::string(real);
    return path.text() + std::string(real.substr(found->second.size()));
}

}  // namespace backup
