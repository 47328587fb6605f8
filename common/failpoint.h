// Failpoints: named places in the program where a test can stop it, kill it, slow it or let a step
// fail, so that tests of crashes and races need no luck. Off unless BACKUPD_FAILPOINTS is set in
// the environment when the program starts; then it is a list, divided by ";", of
//
//   NAME=ACTION[@N]      at the Nth time the place is reached (1 if left out); "@N+": every time
//                        from then on
//   pause:FILE           makes FILE and waits until it is gone
//   gate:FILE            waits as long as FILE is there; before that it makes FILE.reached
//   kill                 SIGKILL to ourselves
//   kill:FILE            the same, but only as long as FILE is there
//   sleep:MS             waits
//   fail                 failpoint() answers true: the caller takes its error path
//   fail:FILE            the same, but only as long as FILE is there
//
// Thread-safe. Costs one load of a constant when off.
#pragma once

#include <atomic>
#include <string_view>

namespace backup {

namespace failpoint_detail {
extern const bool is_armed;
bool reached(std::string_view name);
}  // namespace failpoint_detail

// True: the caller must behave as if this step had failed.
inline bool failpoint(std::string_view name) {
    return failpoint_detail::is_armed && failpoint_detail::reached(name);
}

}  // namespace backup
