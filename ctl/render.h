// Text for people: sizes, durations, times, tables that fit the terminal, progress lines. Pure:
// what the terminal can do comes in, lines go out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"

namespace backup {

struct Looks {
    int width = 80;  // columns; 0: unlimited
    bool color = false;
    bool unicode = true;  // glyphs beyond ASCII
    bool bytes = false;   // exact sizes
    bool utc = false;
    bool legend = true;  // headings and summaries
};

enum class Tone { plain, bold, dim, good, warn, bad };
std::string paint(std::string_view text, Tone tone, const Looks& looks);

// Columns that text takes on a terminal (wide East Asian characters count two). Control characters
// must have been replaced by printable() before.
int display_width(std::string_view text);
// At most `width` columns, the middle replaced by an ellipsis: both the folder and the name stay
// readable.
std::string shorten_middle(std::string_view text, int width, bool unicode);
std::string shorten_end(std::string_view text, int width, bool unicode);

std::string size_text(std::uint64_t bytes, const Looks& looks);
// "1,234,567"
std::string count_text(std::uint64_t count);
// "1 file", "2 files"
std::string count_text(std::uint64_t count, std::string_view one, std::string_view many);
// Two units at most: "4.2 s", "3 min 12 s", "2 h 5 min", "3 days 4 h".
std::string duration_text(double seconds);
// One unit: "3 h ago", "in 20 min", "just now".
std::string age_text(Timestamp time, Timestamp now);
// "2026-11-20 09:30:12" in the local zone, with " UTC" when asked. "never" for 0.
std::string time_text(std::uint64_t usec, const Looks& looks);
// The same without seconds, and without the day when it is today's.
std::string short_time_text(std::uint64_t usec, Timestamp now, const Looks& looks);

// Broken at spaces so that each line fits the width (0: not at all); lines after the first are
// indented.
std::string wrap_words(std::string_view text, int width, int indent);

struct Column {
    std::string heading;
    enum class Align { left, right } align = Align::left;
    // How it gives way when the table is too wide: some shrink, then some are left out (the last
    // one first), then the others shrink further.
    enum class Fit { keep, shrink_middle, shrink_end, drop } fit = Fit::keep;
};

class Table {
  public:
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    void add(std::vector<std::string> cells) { rows_.push_back({std::move(cells), Tone::plain}); }
    void add(std::vector<std::string> cells, Tone tone) {
        rows_.push_back({std::move(cells), tone});
    }
    bool empty() const { return rows_.empty(); }
    // Lines without line ends. Columns that are empty in every row are left out.
    std::vector<std::string> lines(const Looks& looks) const;

  private:
    struct Row {
        std::vector<std::string> cells;
        Tone tone;
    };
    std::vector<Column> columns_;
    std::vector<Row> rows_;
};

struct ProgressFacts {
    std::string name;      // "home"
    std::string phase;     // "scanning", may be empty
    double fraction = -1;  // below 0: unknown
    std::uint64_t bytes_done = 0, bytes_total = 0;
    std::uint64_t items_done = 0, items_total = 0;
    double rate = 0;                                        // bytes per second
    std::optional<std::pair<double, double>> seconds_left;  // from, to
    std::uint64_t errors = 0;
};
// One line that fits looks.width; parts that find no room are left out, the least needed first.
std::string progress_line(const ProgressFacts& facts, const Looks& looks, bool bar);
// "4-6 min left"
std::string left_text(double from, double to);

// From the done and total bytes seen over time to a range of the time left.
class EtaEstimator {
  public:
    void sample(double seconds_now, std::uint64_t done, std::uint64_t total);
    double rate() const;  // bytes per second, smoothed
    std::optional<std::pair<double, double>> left() const;

  private:
    double begin_ = -1, last_ = -1;
    std::uint64_t first_done_ = 0, done_ = 0, total_ = 0;
    double quick_ = 0, slow_ = 0;
};

}  // namespace backup
