// Rates holds the limits of all transfers, together and by set, and the gate of each job. Limits
// and gates may be changed at any time, from any thread; who waits notices at once.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/clock.h"
#include "daemon/backend/pace.h"
#include "daemon/backend/token_bucket.h"

namespace backup {

class Rates : public std::enable_shared_from_this<Rates> {
  public:
    enum class Way : std::uint8_t { up, down };

    explicit Rates(const Clock& clock) : clock_(clock) {}

    // Bytes a second; 0: no limit. `set` empty: of all together.
    void limit(Way way, const std::string& set, std::uint64_t rate);
    // What went through so far.
    std::uint64_t passed(Way way) const;

    // Of one job. It keeps the Rates alive.
    class Gate final : public Pace {
      public:
        bool pass(std::size_t bytes) override;
        std::size_t piece() const override;

        void open();
        void close();
        bool is_open() const;
        // Whoever waits, or comes later, gives up.
        void let_go();
        std::uint64_t passed() const;

      private:
        friend class Rates;
        Gate(std::shared_ptr<Rates> rates, Way way, std::string set)
            : rates_(std::move(rates)), way_(way), set_(std::move(set)) {}

        const std::shared_ptr<Rates> rates_;
        const Way way_;
        const std::string set_;
        // Guarded by the mutex of the Rates:
        bool is_open_ = true, has_let_go_ = false;
        std::uint64_t passed_ = 0;
    };
    // Made by make_shared only.
    std::shared_ptr<Gate> gate(Way way, const std::string& set);

  private:
    struct Lanes {
        TokenBucket all;
        std::map<std::string, TokenBucket> by_set;
        std::uint64_t passed = 0;
    };
    Lanes& lanes(Way way) { return way == Way::up ? up_ : down_; }
    const Lanes& lanes(Way way) const { return way == Way::up ? up_ : down_; }

    const Clock& clock_;
    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    Lanes up_, down_;
};

}  // namespace backup
