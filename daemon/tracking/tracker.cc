#include "daemon/tracking/tracker.h"

namespace backup {

const char* to_string(TrackingState state) {
    switch (state) {
        case TrackingState::off:
            return "off";
        case TrackingState::scanning:
            return "scanning";
        case TrackingState::live:
            return "live";
        case TrackingState::degraded:
            return "degraded";
    }
    return "?";
}

}  // namespace backup
