// Who of the daemon's own threads goes first when there are more of them than processors.
#pragma once

namespace backup {

// The calling thread takes a smaller share of the processor than the other threads of the process
// from now on, for as long as it lives: for work whose results others carry away, which would
// otherwise be delayed by the very work that waits for it. Any thread; never fails, where the
// system refuses it nothing changes. Linux keeps niceness per thread (setpriority(2), "C
// library/kernel differences").
void give_way_to_other_threads();

}  // namespace backup
