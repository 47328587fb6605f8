#include "daemon/queue/change_queue.h"
