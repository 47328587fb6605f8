#include "daemon/policy/matcher.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/path.h"
#include "daemon/policy/glob.h"

namespace backup {

namespace {

// Enough to tell names apart quickly: the length, the first and the last bytes. Names that agree in
// all are compared.
std::uint64_t name_hash(std::string_view name) {
    std::uint64_t first = 0, last = 0;
    if (name.size() >= 8) {
        std::memcpy(&first, name.data(), 8);
        std::memcpy(&last, name.data() + name.size() - 8, 8);
    } else {
        for (char c : name) first = first << 8 | static_cast<unsigned char>(c);
    }
    std::uint64_t hash = (first ^ (last << 23 | last >> 41)) + name.size();
    hash *= 0x9e3779b97f4a7c15;
    return hash ^ hash >> 29;
}

// Text to the rules that ask for it, newest last. Built once, then only read; at most a quarter
// full.
class TextTable {
  public:
    void add(std::string_view text, std::uint32_t rule) {
        for (Entry& entry : entries_) {
            if (entry.text == text) return entry.rules.push_back(rule);
        }
        entries_.push_back({std::string(text), {rule}});
    }
    void build() {
        std::size_t size = 16;
        while (size < 4 * entries_.size()) size *= 2;
        slots_.assign(size, 0);
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            std::size_t slot = name_hash(entries_[i].text) & (size - 1);
            while (slots_[slot] != 0) slot = (slot + 1) & (size - 1);
            slots_[slot] = static_cast<std::uint32_t>(i + 1);
        }
    }
    const std::vector<std::uint32_t>* find(std::string_view text) const {
        const std::size_t mask = slots_.size() - 1;
        for (std::size_t slot = name_hash(text) & mask; slots_[slot] != 0;
             slot = (slot + 1) & mask) {
            const Entry& entry = entries_[slots_[slot] - 1];
            if (entry.text == text) return &entry.rules;
        }
        return nullptr;
    }
    bool empty() const { return entries_.empty(); }

  private:
    struct Entry {
        std::string text;
        std::vector<std::uint32_t> rules;
    };
    std::vector<Entry> entries_;
    std::vector<std::uint32_t> slots_;
};

struct Component {
    bool spans = false;  // "**": any number of directories
    Glob glob;
};

struct Rule {
    std::string text;
    bool negated = false;
    bool directories_only = false;
    bool anchored = false;
    std::vector<Component> components;  // one when not anchored
    std::string whole;                  // anchored and without wildcards: the path
    std::string begins;                 // anchored: text that every match begins with

    bool matches(std::string_view path, std::string_view name) const;
};

// The same idea as in Glob::matches, with "**" in the place of "*".
bool match_components(const std::vector<Component>& components, std::string_view path) {
    const auto next = [](std::string_view& rest) {
        const auto end = std::min(rest.find('/'), rest.size());
        const std::string_view component = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        return component;
    };
    std::size_t step = 0, retry_step = components.size() + 1;
    std::string_view rest = path, retry_rest;
    rest.remove_prefix(1);  // the root
    for (;;) {
        if (step < components.size() && components[step].spans) {
            ++step;
            // "a/**" is everything inside a, not a itself.
            if (step == components.size()) return !rest.empty();
            retry_step = step;
            retry_rest = rest;
            continue;
        }
        if (rest.empty()) return step == components.size();
        if (step < components.size()) {
            std::string_view after = rest;
            if (components[step].glob.matches(next(after))) {
                rest = after;
                ++step;
                continue;
            }
        }
        if (retry_step > components.size() || retry_rest.empty()) return false;
        next(retry_rest);
        rest = retry_rest;
        step = retry_step;
    }
}

bool Rule::matches(std::string_view path, std::string_view name) const {
    if (!anchored) return components.front().glob.matches(name);
    if (!path.starts_with(begins)) return false;
    if (!whole.empty()) return path == whole;
    return match_components(components, path);
}

Result<Rule> compile_rule(const std::string& text) {
    const auto bad = [&](std::string_view what) {
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "pattern \"" + printable(text) + "\": " + std::string(what));
    };
    Rule rule;
    rule.text = text;
    std::string_view rest = text;
    if (rest.find('\0') != std::string_view::npos) return bad("a zero byte");
    if (rest.starts_with('!')) {
        rule.negated = true;
        rest.remove_prefix(1);
    }
    if (rest.ends_with('/')) {
        rule.directories_only = true;
        rest.remove_suffix(1);
    }
    if (rest.empty()) return bad(text.empty() ? "it is empty" : "it names nothing");
    rule.anchored = rest.find('/') != std::string_view::npos;
    if (rest.starts_with('/')) rest.remove_prefix(1);
    while (true) {
        const auto end = std::min(rest.find('/'), rest.size());
        const std::string_view part = rest.substr(0, end);
        if (part.empty()) return bad("two slashes in a row can never match");
        if (part == "." || part == "..")
            return bad("\".\" and \"..\" can never match; write the path as it is");
        Component component;
        component.spans = part == "**" && rule.anchored;
        if (!component.spans) {
            auto glob = Glob::compile(part);
            if (!glob.ok()) return bad(glob.error().message());
            component.glob = std::move(*glob);
        }
        const bool repeats =
            component.spans && !rule.components.empty() && rule.components.back().spans;
        if (!repeats) rule.components.push_back(std::move(component));
        if (end == rest.size()) break;
        rest.remove_prefix(end + 1);
    }
    // "**/name" is "name".
    if (rule.anchored && rule.components.size() == 2 && rule.components[0].spans &&
        !rule.components[1].spans) {
        rule.components.erase(rule.components.begin());
        rule.anchored = false;
    }
    if (rule.anchored) {
        std::string literal;
        std::size_t count = 0;
        for (const Component& component : rule.components) {
            if (component.spans || !component.glob.is_literal()) break;
            literal += "/" + component.glob.literal();
            ++count;
        }
        rule.begins = literal;
        if (count == rule.components.size()) rule.whole = literal;
    }
    return rule;
}

constexpr std::uint32_t kNone = ~std::uint32_t{0};

}  // namespace

// Rules are found by the last component of the path: most patterns end in plain text
// ("node_modules/", "/home/*/.cache") or are a plain suffix ("*.o"); only the rest is tried one by
// one.
struct Matcher::Impl {
    std::vector<Rule> rules;
    TextTable by_name;
    TextTable by_suffix;
    std::vector<std::uint8_t> suffix_sizes;  // distinct, of suffixes in by_suffix
    std::array<bool, 256> ends_suffix{};     // last bytes of suffixes
    std::vector<std::uint32_t> others;       // newest first

    // The newest rule that matches, or kNone.
    std::uint32_t decide(std::string_view path, std::string_view name, bool is_directory) const {
        std::uint32_t best = kNone;
        const auto better = [&](std::uint32_t rule) { return best == kNone || rule > best; };
        const auto fits = [&](std::uint32_t index) {
            return (is_directory || !rules[index].directories_only) &&
                   rules[index].matches(path, name);
        };
        const auto look = [&](const std::vector<std::uint32_t>* found) {
            if (found == nullptr) return;
            for (auto rule = found->rbegin(); rule != found->rend() && better(*rule); ++rule) {
                if (!fits(*rule)) continue;
                best = *rule;
                break;
            }
        };
        look(by_name.find(name));
        if (ends_suffix[static_cast<unsigned char>(name.back())]) {
            for (std::uint8_t size : suffix_sizes) {
                if (size <= name.size()) look(by_suffix.find(name.substr(name.size() - size)));
            }
        }
        for (std::uint32_t rule : others) {
            if (!better(rule)) break;
            if (!fits(rule)) continue;
            best = rule;
            break;
        }
        return best;
    }
};

Result<Matcher> Matcher::compile(const std::vector<std::string>& patterns) {
    auto impl = std::make_shared<Impl>();
    for (const std::string& pattern : patterns) {
        const auto index = static_cast<std::uint32_t>(impl->rules.size());
        impl->rules.push_back(TRY(compile_rule(pattern)));
        const Rule& rule = impl->rules.back();
        const Component& last = rule.components.back();
        const std::string& literal = last.glob.literal();
        if (!last.spans && last.glob.is_literal()) {
            impl->by_name.add(literal, index);
        } else if (!last.spans && last.glob.is_suffix() && literal.size() < 256) {
            impl->by_suffix.add(literal, index);
            impl->suffix_sizes.push_back(static_cast<std::uint8_t>(literal.size()));
            impl->ends_suffix[static_cast<unsigned char>(literal.back())] = true;
        } else {
            impl->others.insert(impl->others.begin(), index);
        }
    }
    auto& sizes = impl->suffix_sizes;
    std::sort(sizes.begin(), sizes.end());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    impl->by_name.build();
    impl->by_suffix.build();
    Matcher matcher;
    matcher.impl_ = std::move(impl);
    return matcher;
}

Matcher::Matcher() = default;
Matcher::Matcher(const Matcher&) = default;
Matcher::Matcher(Matcher&&) noexcept = default;
Matcher& Matcher::operator=(Matcher&&) noexcept = default;
Matcher::~Matcher() = default;

bool Matcher::empty() const {
    return !impl_ || impl_->rules.empty();
}

bool Matcher::excludes(std::string_view path, std::string_view name, bool is_directory) const {
    if (empty() || name.empty() || !path.starts_with('/')) return false;
    const std::uint32_t rule = impl_->decide(path, name, is_directory);
    return rule != kNone && !impl_->rules[rule].negated;
}

std::optional<std::string> Matcher::deciding_pattern(std::string_view path, std::string_view name,
                                                     bool is_directory) const {
    if (empty() || name.empty() || !path.starts_with('/')) return std::nullopt;
    const std::uint32_t rule = impl_->decide(path, name, is_directory);
    if (rule == kNone) return std::nullopt;
    return impl_->rules[rule].text;
}

}  // namespace backup
