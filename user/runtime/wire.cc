#include "user/runtime/wire.h"

#include "base/atomic.h"
#include "user/runtime/clock.h"

namespace keel::wire {

u32 next_request_number() {
  static constinit Atomic<u32> next{1};
  return next.fetch_add(1, kRelaxed);  // only has to differ
}

bool again(Status status, Repeat repeat, u32 attempt, Deadline deadline) {
  return status == Status::peer_died && repeat == Repeat::idempotent && attempt < kMaxAttempts && !has_passed(deadline);
}

Status post(CapIndex port, const Message& message) {
  constexpr u32 kTries = 100;
  for (u32 i = 0; i < kTries; ++i) {
    const Status status = ipc::send(port, message);
    if (status != Status::would_block) return status;
    sleep_until(after(kMillisecond));
  }
  return Status::would_block;
}

Result<void> hello(CapIndex port, u64 header, Deadline deadline) {
  Message message;
  const Status status = transact(port, message, Repeat::idempotent, deadline, [&] { Writer out(message, header, 1); });
  if (status != Status::ok) return status;
  Reader in(message, 2, 0);
  const u64 version = in.word();
  if (in.finish() != Status::ok) return Status::corrupt;
  if (version != (header >> kVersionShift & 0xffff)) return Status::version_mismatch;
  return {};
}

}  // namespace keel::wire
