// Opening a state store on a LevelDB environment of one's own: tests inject failing writes there.
#pragma once

#include <memory>
#include <string>

#include "daemon/state/state_store.h"

namespace leveldb {
class Env;
}

namespace backup::state {

Result<std::unique_ptr<StateStore>> open_state_store(const std::string& directory,
                                                     const Clock& clock, bool* recovered,
                                                     leveldb::Env* env);

}  // namespace backup::state
