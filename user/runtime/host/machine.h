// The runtime on the build machine: system calls and messages go where a test says.
#pragma once

#include <functional>

#include "user/runtime/syscall.h"

namespace keel::host {

struct Machine {
  std::function<Status(Call, u64 capability, SyscallWords&)> system_call;
  std::function<Status(CapIndex, Message&)> call;
  std::function<Status(CapIndex, Message&)> receive;
  std::function<Status(CapIndex, Message&)> reply_receive;
  std::function<Status(CapIndex, const Message&)> send;
  std::function<Status(CapIndex, const Message&)> reply_send;
  std::function<Status(CapIndex, const Message&)> forward;
};

// What the calling thread's calls go to; one that is not set answers not_supported.
Machine& machine();

}  // namespace keel::host
