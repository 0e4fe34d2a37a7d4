#include "user/runtime/thread.h"

#include <new>

#include "user/runtime/clock.h"
#include "user/runtime/machine.h"
#include "user/runtime/stubs.h"

extern "C" [[gnu::visibility("hidden")]] void keel_thread_entry();

extern "C" [[noreturn]] void keel_thread_start(keel::Thread::Control* control, keel::MessagePage* page) {
  keel::Thread::run(control, page);
}

namespace keel {
namespace {

constexpr u64 kDead = 5;  // thread_info: state

u64 own_level() {
  const Result<sys::ThreadInfoResult> info = sys::thread_info(this_thread().thread);
  return info.has_value() ? info->level : kLowLevel;
}

}  // namespace

Result<Thread> Thread::create(Entry entry, void* argument, u64 stack_pages) {
  std::unique_ptr<Control> control(new (std::nothrow) Control);
  if (control == nullptr) return Status::no_memory;
  control->entry = entry;
  control->argument = argument;
  control->stack = TRY(Mapping::create(stack_pages));
  const sys::ThreadCreateResult made = TRY(sys::thread_create(self().process, own_level()));
  control->thread = Cap(made.thread);
  control->block.thread = made.thread;
  control->block.id = made.id;
  const u64 stack = reinterpret_cast<u64>(control->stack.data() + control->stack.size());
  TRY(sys::thread_start(made.thread, reinterpret_cast<u64>(&keel_thread_entry), stack,
                        reinterpret_cast<u64>(control.get()), made.message_page));
  Thread thread;
  thread.control_ = std::move(control);
  return thread;
}

void Thread::run(Control* control, MessagePage* page) {
  control->block.message_page = page;
  set_thread_pointer(control->block);
  control->entry(control->argument);
  control->finished.store(1, kRelease);  // pairs with the load in join()
  wake(control->finished, ~u32{0});
  static_cast<void>(sys::thread_exit());
  __builtin_trap();
}

Result<void> Thread::join(Deadline deadline) {
  if (control_ == nullptr) return Status::bad_state;
  if (!wait_while(control_->finished, 0, deadline)) return Status::timed_out;
  // The thread may still be on its way out, on its stack.
  for (;;) {
    const Result<sys::ThreadInfoResult> info = sys::thread_info(control_->thread.get());
    if (!info.has_value() || info->state == kDead) break;
    sleep_until(after(kMillisecond / 10));
  }
  control_.reset();
  return {};
}

Thread::~Thread() {
  // Whoever did not join left the thread running on this memory.
  static_cast<void>(control_.release());
}

}  // namespace keel
