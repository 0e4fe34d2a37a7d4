// Thread: a second flow of control in this process. Most services need none: see service_loop.h.
#pragma once

#include <memory>

#include "user/runtime/memory.h"
#include "user/runtime/sync.h"
#include "user/runtime/thread_block.h"

namespace keel {

class Thread {
 public:
  using Entry = void (*)(void*);
  static constexpr u64 kStackPages = 32;

  Thread() = default;
  Thread(Thread&&) noexcept = default;
  Thread& operator=(Thread&&) noexcept = default;
  // A thread that was not joined goes on; its stack stays.
  ~Thread();

  // Runs entry(argument) at the level of the calling thread. Errors: no_memory, quota_exceeded, no_slot.
  static Result<Thread> create(Entry entry, void* argument, u64 stack_pages = kStackPages);
  // Waits until entry has returned and gives back the stack. Errors: timed_out.
  Result<void> join(Deadline deadline = kForever);
  // Of one that runs: what names it in system calls. Valid until it was joined.
  CapIndex capability() const;

  // For the first code of the thread.
  struct Control;
  [[noreturn]] static void run(Control* control, MessagePage* page);

 private:
  std::unique_ptr<Control> control_;
};

struct Thread::Control {
  ThreadBlock block;
  Entry entry = nullptr;
  void* argument = nullptr;
  Cap thread;
  Mapping stack;
  Atomic<u32> finished{0};
};

inline CapIndex Thread::capability() const { return control_->thread.get(); }

}  // namespace keel
