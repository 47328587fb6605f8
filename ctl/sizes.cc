#include "ctl/sizes.h"

#include <cctype>
#include <cmath>
#include <string>

#include "common/path.h"

namespace backup {

Result<std::uint64_t> parse_size(std::string_view text) {
    Error bad(ErrorKind::invalid, ErrorCode::invalid_arguments,
              "'" + printable(text) + "' is not a size\ntry: 4096, 500MiB, 1.5GiB");
    std::size_t at = 0;
    double value = 0, scale = 1;
    bool digits = false, point = false;
    for (; at < text.size(); ++at) {
        char c = text[at];
        if (c == '.' && !point && digits) {
            point = true;
        } else if (c >= '0' && c <= '9') {
            digits = true;
            value = value * 10 + (c - '0');
            if (point) scale *= 10;
        } else {
            break;
        }
    }
    if (!digits || text[at - 1] == '.') return bad;
    while (at < text.size() && text[at] == ' ') ++at;
    std::string unit;
    for (; at < text.size(); ++at)
        unit += static_cast<char>(std::tolower(static_cast<unsigned char>(text[at])));
    double base = 1024;
    if (unit == "b") unit.clear();
    if (unit.ends_with("ib"))
        unit.resize(unit.size() - 2);
    else if (unit.ends_with("b")) {
        unit.resize(unit.size() - 1);
        base = 1000;
    }
    constexpr std::string_view kUnits = "kmgtp";
    double factor = 1;
    if (!unit.empty()) {
        std::size_t power = unit.size() == 1 ? kUnits.find(unit[0]) : std::string_view::npos;
        if (power == std::string_view::npos) return bad;
        factor = std::pow(base, static_cast<double>(power + 1));
    }
    double bytes = std::floor(value / scale * factor + 0.5);
    if (bytes > 9.2e18) return bad;
    return static_cast<std::uint64_t>(bytes);
}

}  // namespace backup
