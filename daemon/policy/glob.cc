#include "daemon/policy/glob.h"

#include <algorithm>
#include <array>

namespace backup {

namespace {

// Only ASCII: what a byte means beyond it depends on an encoding, and names have none.
struct Class {
    std::string_view name;
    bool (*holds)(unsigned c);
};
constexpr bool is_digit(unsigned c) {
    return c >= '0' && c <= '9';
}
constexpr bool is_lower(unsigned c) {
    return c >= 'a' && c <= 'z';
}
constexpr bool is_upper(unsigned c) {
    return c >= 'A' && c <= 'Z';
}
constexpr std::array<Class, 12> kClasses = {{
    {"alnum", [](unsigned c) { return is_digit(c) || is_lower(c) || is_upper(c); }},
    {"alpha", [](unsigned c) { return is_lower(c) || is_upper(c); }},
    {"blank", [](unsigned c) { return c == ' ' || c == '\t'; }},
    {"cntrl", [](unsigned c) { return c < 0x20 || c == 0x7f; }},
    {"digit", is_digit},
    {"graph", [](unsigned c) { return c > 0x20 && c < 0x7f; }},
    {"lower", is_lower},
    {"print", [](unsigned c) { return c >= 0x20 && c < 0x7f; }},
    {"punct",
     [](unsigned c) {
         return c > 0x20 && c < 0x7f && !is_digit(c) && !is_lower(c) && !is_upper(c);
     }},
    {"space", [](unsigned c) { return c == ' ' || (c >= 9 && c <= 13); }},
    {"upper", is_upper},
    {"xdigit",
     [](unsigned c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }},
}};

Error bad(const char* what) {
    return Error(ErrorKind::invalid, what);
}

}  // namespace

// `pattern` begins behind the "["; returns how much belongs to the set, the "]" included.
Result<std::size_t> Glob::compile_set(std::string_view pattern, std::bitset<256>& set) {
    std::size_t at = 0;
    const bool inverted = at < pattern.size() && (pattern[at] == '!' || pattern[at] == '^');
    if (inverted) ++at;
    const std::size_t first = at;
    const auto take = [&]() -> Result<unsigned> {
        if (at < pattern.size() && pattern[at] == '\\') ++at;
        if (at >= pattern.size()) return bad("\"[\" without \"]\"");
        return static_cast<unsigned>(static_cast<unsigned char>(pattern[at++]));
    };
    for (;;) {
        if (at >= pattern.size()) return bad("\"[\" without \"]\"");
        if (pattern[at] == ']' && at != first) break;
        if (pattern.substr(at).starts_with("[:")) {
            const auto end = pattern.find(":]", at);
            if (end == std::string_view::npos) return bad("\"[:\" without \":]\"");
            const std::string_view name = pattern.substr(at + 2, end - at - 2);
            const auto* known = std::find_if(kClasses.begin(), kClasses.end(),
                                             [&](const Class& c) { return c.name == name; });
            if (known == kClasses.end()) return bad("an unknown class between \"[:\" and \":]\"");
            for (unsigned c = 0; c < 256; ++c) {
                if (known->holds(c)) set.set(c);
            }
            at = end + 2;
            continue;
        }
        const unsigned from = TRY(take());
        unsigned to = from;
        // A "-" at the end of the set means itself.
        if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') {
            ++at;
            to = TRY(take());
            if (to < from) return bad("a range that ends before it begins");
        }
        for (unsigned c = from; c <= to; ++c) set.set(c);
    }
    if (inverted) set.flip();
    return at + 1;
}

Result<Glob> Glob::compile(std::string_view pattern) {
    Glob glob;
    std::size_t wildcards = 0;
    while (!pattern.empty()) {
        const char c = pattern.front();
        pattern.remove_prefix(1);
        switch (c) {
            case '*':
                if (glob.steps_.empty() || glob.steps_.back().kind != Kind::any_run) {
                    glob.steps_.push_back({Kind::any_run});
                    ++wildcards;
                }
                continue;
            case '?':
                glob.steps_.push_back({Kind::any_byte});
                ++wildcards;
                continue;
            case '[': {
                std::bitset<256> set;
                pattern.remove_prefix(TRY(compile_set(pattern, set)));
                glob.steps_.push_back(
                    {Kind::set, 0, static_cast<std::uint16_t>(glob.sets_.size())});
                if (glob.sets_.size() >= 1000) return bad("too many sets in one pattern");
                glob.sets_.push_back(set);
                ++wildcards;
                continue;
            }
        }
        char literal = c;
        if (c == '\\') {
            if (pattern.empty()) return bad("a backslash at the end");
            literal = pattern.front();
            pattern.remove_prefix(1);
        }
        glob.steps_.push_back({Kind::byte, static_cast<std::uint8_t>(literal)});
        glob.literal_ += literal;
    }
    glob.is_literal_ = wildcards == 0;
    glob.is_suffix_ =
        wildcards == 1 && glob.steps_.front().kind == Kind::any_run && glob.steps_.size() > 1;
    return glob;
}

bool Glob::step_matches(const Step& step, char c) const {
    switch (step.kind) {
        case Kind::byte:
            return step.byte == static_cast<std::uint8_t>(c);
        case Kind::any_byte:
            return true;
        case Kind::set:
            return sets_[step.set].test(static_cast<std::uint8_t>(c));
        case Kind::any_run:
            break;
    }
    return false;
}

// On a mismatch only the last "*" needs another try: what an earlier one took was enough to get
// here. So at most pattern times text steps.
bool Glob::matches(std::string_view text) const {
    if (is_literal_) return text == literal_;
    if (is_suffix_) return text.ends_with(literal_);
    std::size_t at = 0, step = 0;
    std::size_t retry_step = steps_.size() + 1, retry_at = 0;
    for (;;) {
        if (step < steps_.size() && steps_[step].kind == Kind::any_run) {
            retry_step = ++step;
            retry_at = at;
            continue;
        }
        if (at == text.size()) {
            return step == steps_.size();
        }
        if (step < steps_.size() && step_matches(steps_[step], text[at])) {
            ++step;
            ++at;
            continue;
        }
        if (retry_step > steps_.size()) return false;
        step = retry_step;
        at = ++retry_at;
    }
}

}  // namespace backup
