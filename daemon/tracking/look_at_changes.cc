#include "daemon/tracking/look_at_changes.h"
