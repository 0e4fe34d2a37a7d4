// Reply: one deferred reply. reply_take moves the current caller in, which ends donation; reply_send answers it, from
// any thread. Allocated beforehand, which bounds what a server can leave outstanding.
//
// Invariants   I1 caller_ waits (WaitKind::reply) and its reply_object is this.
// Locks        none: it belongs to the CPU of its caller; empty, it follows whoever takes a call into it.
// Lifetime     the last capability answers the caller PeerDied.
#pragma once

#include "kernel/core/thread.h"

namespace keel {

class Reply final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::reply;
  static Result<RefPtr<Reply>> create(Cpu& cpu, ResourceGroup& group);

  // Errors: bad_state (the thread has no caller), busy (one is in here).
  Result<void> take(Cpu& cpu, Thread& server);
  bool is_empty() const { return caller_ == nullptr; }
  // Answers with the sender's message. Errors: bad_state (empty), cancelled (the caller no longer waits), those of
  // moving capabilities (the caller stays in here then).
  Result<void> send(Cpu& cpu, Thread& sender);
  // The caller stopped waiting.
  void forget_caller() {
    caller_ = nullptr;
    stale_ = true;
  }
  void on_zero_handles(Cpu& cpu) override;

 private:
  friend class ObjectMaker;
  explicit Reply(ResourceGroup& group) : KObject(ObjectKind::reply, group) {}
  void destroy(Cpu& cpu) override;

  Thread* caller_ = nullptr;
  bool stale_ = false;  // the caller that was in here no longer waits
};

}  // namespace keel
