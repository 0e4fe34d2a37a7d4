// ThreadBlock: what a thread keeps for itself, found through the FS base, which user code sets.
#pragma once

#include "abi/calls.h"
#include "abi/types.h"
#include "base/result.h"

namespace keel {

// The last call of this thread that failed: with cap_info() and call_rights() enough to say which right was missing.
struct LastError {
  Call call{};
  Status status = Status::ok;
  CapIndex capability{};
};

struct ThreadBlock {
  ThreadBlock* self = nullptr;  // at FS:0
  MessagePage* message_page = nullptr;
  CapIndex thread{};
  u64 id = 0;
  LastError last_error;
};

ThreadBlock& this_thread();

inline MessagePage& message_page() { return *this_thread().message_page; }
inline LastError& last_error() { return this_thread().last_error; }

}  // namespace keel
