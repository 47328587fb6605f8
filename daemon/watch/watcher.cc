#include "daemon/watch/watcher.h"

namespace backup {

const char* to_string(WatchKind kind) {
    switch (kind) {
        case WatchKind::fanotify:
            return "fanotify";
        case WatchKind::inotify:
            return "inotify";
        case WatchKind::scan:
            return "scan";
    }
    return "?";
}

}  // namespace backup
