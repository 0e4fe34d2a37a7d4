// Reply: one deferred reply. reply_take moves the current caller in, which ends donation; reply_send answers it, from
// any thread. Allocated beforehand, which bounds what a server can leave outstanding.
//
// Invariants   I1 caller_ waits (WaitKind::reply) and its reply_object is this.
//              I2 its observer, if it has one, has been told whether it is stale: the signal that a caller gave up.
// Locks        none: it belongs to the CPU of its caller; empty, it follows whoever takes a call into it.
// Lifetime     the last capability answers the caller PeerDied.
#pragma once

#include "kernel/core/thread.h"
#include "kernel/object/observer.h"

namespace keel {

class Reply final : public Observable {
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
  void forget_caller(Cpu& cpu) {
    caller_ = nullptr;
    set_stale(cpu, true);
  }
  bool is_pending() const override { return stale_; }
  void on_zero_handles(Cpu& cpu) override;
  void wake_revoked(Cpu& cpu) override { check_observer(cpu); }

 private:
  friend class ObjectMaker;
  explicit Reply(ResourceGroup& group) : Observable(ObjectKind::reply, group) {}
  void destroy(Cpu& cpu) override;
  void set_stale(Cpu& cpu, bool stale);

  Thread* caller_ = nullptr;
  bool stale_ = false;  // the caller that was in here no longer waits
};

}  // namespace keel
