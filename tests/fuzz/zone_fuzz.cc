// Time zone files and times as text: what is written for any zone can be read, and means the same
// when the zone's offset has no seconds.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "daemon/repository/zone.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (const auto time = parse_file_time(as_text({data, size}))) {
        ZoneFormatter utc(Zone::utc());
        const auto again = parse_file_time(utc.text(*time));
        if (!again || again->nanoseconds != time->nanoseconds) std::abort();
    }
    const auto zone = Zone::parse({data, size});
    if (!zone.ok()) return 0;
    ZoneFormatter kept(*zone);
    std::int64_t seconds = -70000000000;
    for (int i = 0; i < 400; ++i) {
        const auto period = (*zone)->at(seconds);
        if (seconds < period.begin || seconds >= period.end) std::abort();
        const std::string text = kept.text({seconds, 5});
        if (text != ZoneFormatter(*zone).text({seconds, 5})) std::abort();
        const auto read = parse_file_time(text);
        if (!read) std::abort();
        const bool far = seconds < -62100000000 || seconds > 253300000000;
        if (!far && period.offset % 60 == 0 && read->seconds != seconds) std::abort();
        seconds = i % 2 == 0 && period.end < 260000000000 ? period.end : seconds + 900000000 + i;
    }
    return 0;
}
