// ProbeTimes says when a repository that could not be reached is tried again, and whether what went
// wrong is worth a message. Pure; one thread.
#pragma once

#include <map>
#include <string>

#include "common/clock.h"

namespace backup {

class ProbeTimes {
  public:
    // Whether it is time to try. Always, unless a failure is younger than its pause: 2 s after the
    // first, twice as long after each further one, a minute at the most. A disk that comes back is
    // noticed soon, and one that does not costs nothing.
    bool is_due(const std::string& repository, MonotonicTime now) const;
    // The time of the next try; max() for one that did not fail.
    MonotonicTime next(const std::string& repository) const;

    // A try begins, which takes its time: the next one waits for a pause from now on.
    void begin(const std::string& repository, MonotonicTime now);
    void succeeded(const std::string& repository) { failures_.erase(repository); }
    // True: nobody was told so yet since the repository was last reached.
    bool failed(const std::string& repository, const std::string& message, MonotonicTime now);

  private:
    struct Failure {
        std::string message;
        Duration pause{};
        MonotonicTime next;
    };
    std::map<std::string, Failure> failures_;
};

}  // namespace backup
