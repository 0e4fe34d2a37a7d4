// MessageChecks: whether messages have the form that the generated code gives them, and arrive as they were sent.
//
// The fast paths know nothing of it: while a check is on, calls take the general way on every CPU.
//
// Locks        none.
// Costs        off: nothing on the fast paths, two loads on the general way. On: docs/subsystems/hardening.md.
// See          message_checks_test.cc
#pragma once

#include "kernel/core/thread.h"

namespace keel {

class Platform;

class MessageChecks {
 public:
  explicit MessageChecks(Platform& platform) : platform_(platform) {}
  // Copies the words of the sender's message that are in its page into the receiver's. Errors: invalid_argument (word 0
  // is no header, or in a reply no status; nothing was copied), corrupt (what is in the receiver's page is not what was
  // in the sender's, be it that memory failed or that another thread wrote to the page meanwhile).
  Result<void> carry(Cpu& cpu, const Thread& sender, Thread& receiver, u32 words);
  // A setting has changed.
  void route(Cpu& cpu);

 private:
  Platform& platform_;
  Atomic<u32> seen_{0};  // messages since the last one that was summed up; a race may skip one
};

}  // namespace keel
