// CallContext: one system call on its way through the kernel: its arguments, typed access to the caller's capabilities,
// and where its outcome goes.
//
// A handler checks everything first, then calls one function of the object, and publishes new capabilities last. It
// returns a Result; finish() turns that into registers, unless the thread has started to wait or is no more: then
// whoever ends the wait writes the registers.
#pragma once

#include "abi/calls.h"
#include "abi/objects.h"
#include "abi/types.h"
#include "base/result.h"
#include "kernel/cap/space.h"
#include "kernel/core/cpu.h"
#include "kernel/core/process.h"
#include "kernel/core/thread.h"

namespace keel {

class CallContext {
 public:
  CallContext(Cpu& cpu, Thread& thread) : cpu(cpu), thread(thread), call_(thread.state.rax) {}

  Cpu& cpu;
  Thread& thread;
  Process& process() const { return *thread.process; }
  CapSpace& caps() const { return thread.process->caps; }
  ResourceGroup& group() const { return thread.process->group(); }
  Machine& machine() const { return cpu.machine; }

  void dispatch();

  Descriptor descriptor() const { return {call_ & ~u64{0xff}}; }
  CapIndex capability() const { return CapIndex(thread.state.rdi); }
  u64 word(u32 i) const { return thread.state.word[i]; }
  // For a call that is about to be restarted: where it goes on.
  void set_word(u32 i, u64 value) { thread.state.word[i] = value; }
  void set_result(u32 i, u64 value) { results_[i] = value; }

  // Errors: bad_capability, wrong_kind, missing_right.
  template <class T>
  Result<T*> get(CapIndex index, Rights needed) {
    Result<CapSlot*> slot = caps().find(index, T::kKind, needed);
    if (slot.has_value()) [[likely]]
      return static_cast<T*>((*slot)->object);
    denied_ = index;
    return slot.status();
  }
  // Null for index 0.
  template <class T>
  Result<T*> get_optional(CapIndex index, Rights needed) {
    if (index == kNoCapability) return static_cast<T*>(nullptr);
    return get<T>(index, needed);
  }
  // The slot of a capability that get() or the decoder has checked. Another thread may have given it up since; what it
  // held can be read until the kernel is left.
  CapSlot& slot(CapIndex index) const { return caps().slot(index); }
  CapSlot& target() const { return slot(capability()); }
  // `target`, bound through the caller's capability `index` and at its cost.
  template <class T>
  BindRequest<T> binding(T& target, CapIndex index, u64 data) const {
    return {target, slot(index).node(), group(), data};
  }

  // A new object's first capability, in the caller's space, with all rights of its kind.
  template <class T>
  Result<CapIndex> publish(const RefPtr<T>& object, u64 scope = 0) {
    return caps().insert_root(cpu, *object, all_rights(T::kKind), scope);
  }

  void finish(Result<void> outcome);

  // Whether the thread is here for this call only.
  bool is_visit() const { return thread.run_on != &cpu; }
  // The call goes on at `cpu` from the beginning: a handler answers this when what it needs is there.
  Status go_to(Cpu& to) {
    next_stop_ = &to;
    return Status::restart;
  }

 private:
  Cpu* destination();
  Result<void> run_message_call(Call call);

  u64 call_;
  u64 results_[kRegisterWords] = {};
  CapIndex denied_ = capability();  // what to blame if the call is refused
  bool delivered_ = false;          // a message is in the registers already
  Cpu* next_stop_ = nullptr;        // where the call goes on
};

}  // namespace keel
