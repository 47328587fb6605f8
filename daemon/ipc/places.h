// Places that each uid has a few of, for what lasts longer than a call. Loop thread only, where the
// permits are also given back.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "common/result.h"

namespace backup {

class Places {
  public:
    // `full`: what to say to whoever has taken all of his.
    Places(unsigned most, std::string full) : most_(most), full_(std::move(full)) {}

    // Given back when the last copy is destroyed; it may outlive this.
    using Permit = std::shared_ptr<void>;
    Result<Permit> take(std::uint32_t uid) {
        unsigned& used = (*used_)[uid];
        if (used >= most_) return Error(ErrorKind::conflict, ErrorCode::limits_exceeded, full_);
        ++used;
        return Permit(nullptr, [counts = used_, uid](void*) {
            if (--(*counts)[uid] == 0) counts->erase(uid);
        });
    }

  private:
    const unsigned most_;
    const std::string full_;
    std::shared_ptr<std::map<std::uint32_t, unsigned>> used_ =
        std::make_shared<std::map<std::uint32_t, unsigned>>();
};

}  // namespace backup
