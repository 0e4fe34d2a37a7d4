#include "kernel/syscall/context.h"

#include "kernel/cap/audit.h"
#include "kernel/ipc/message.h"
#include "kernel/ipc/port.h"
#include "kernel/object/notification.h"
#include "kernel/syscall/handlers.h"

namespace keel {
namespace {

bool is_denial(Status status) {
  return status == Status::bad_capability || status == Status::wrong_kind || status == Status::missing_right ||
         status == Status::access_denied;
}

}  // namespace

// Where the call has to be carried out: with its target, if that belongs to a CPU. Null: here. The calls below need
// nothing of their target that belongs to its home, or see to it themselves.
Cpu* CallContext::destination() {
  switch (Call(call_ & 0xff)) {
    case Call::reply_receive:
    case Call::forward:
    case Call::notification_signal:
    case Call::interrupt_ack:
    case Call::cap_derive:
    case Call::cap_derive_until:
    case Call::cap_move:
    case Call::cap_delete:
    case Call::cap_info:
    // These have no target at all, whatever is in its register.
    case Call::thread_exit:
    case Call::yield:
    case Call::word_wait:
    case Call::word_wake:
    case Call::random_get:
    case Call::caller_labels:
    case Call::trace_context:
      return nullptr;
    default:
      break;
  }
  Result<CapSlot*> found = caps().find(capability());
  if (!found.has_value()) return nullptr;
  KObject& object = *(*found)->object;
  if (!is_homed(object.kind())) return nullptr;
  Cpu* home = object.home();
  if (home != &cpu) return home;
  // A caller that its server carries along, and is still in this CPU's mailbox: behind it.
  if (object.kind() == ObjectKind::thread && static_cast<Thread&>(object).is_carried()) return home;
  return nullptr;
}

void CallContext::dispatch() {
  u32 number = u32(call_ & 0xff);
  if (Cpu* to = destination()) {
    if (Call(number) == Call::receive) thread.fail_caller(cpu, Status::peer_died);  // it waits at this CPU
    return thread.depart(cpu, *to, Thread::Travel::call);
  }
  switch (Call(number)) {
    case Call::call:
    case Call::reply_receive:
    case Call::receive:
    case Call::notification_signal:
    case Call::yield:
      return finish(run_message_call(Call(number)));
    default:
      return dispatch_plain(*this, number);
  }
}

// The calls that have fast paths (kernel/ipc/fast.cc), in full.
Result<void> CallContext::run_message_call(Call call) {
  switch (call) {
    case Call::call: {
      auto* port = TRY(get<Port>(capability(), rights::port::call));
      if (is_visit() && port->follow_caller(cpu, thread)) return go_to(*thread.run_on);
      return port->call(cpu, thread, target().scope, capability());
    }
    case Call::reply_receive:
    case Call::receive: {
      auto* port = TRY(get<Port>(capability(), rights::port::receive));
      Deadline deadline = descriptor().has_deadline() ? Deadline(thread.message_page->deadline) : kForever;
      if (call == Call::reply_receive) {
        if (deadline == kForever && port->is_local(cpu)) {
          TRY(check_descriptor(descriptor()));
          if (TRY(port->reply_and_wait(cpu, thread, capability()))) return {};
        }
        TRY(reply_to_caller(cpu, thread));
        // The reply is gone: should this call run again, it only receives.
        thread.state.rax = u64(Call::receive) | (call_ & Descriptor::kDeadline);
        if (thread.has_flags(Thread::kMustMove)) {
          obey_affinity(cpu, thread);
          return Status::restart;
        }
        if (!port->is_local(cpu)) return go_to(*port->home());
      } else {
        if ((descriptor().raw & ~Descriptor::kDeadline) != 0) return Status::invalid_argument;
        if (!is_visit()) thread.fail_caller(cpu, Status::peer_died);
      }
      if (is_visit() && port->follow_receiver(*thread.run_on)) return go_to(*thread.run_on);
      Result<void> received = port->receive(cpu, thread, capability(), deadline);
      if (received.has_value()) delivered_ = true;
      return received;
    }
    case Call::notification_signal: {
      if (descriptor().raw != 0) return Status::invalid_argument;
      auto* notification = TRY(get<Notification>(capability(), rights::notification::signal));
      u64 allowed = target().scope == 0 ? ~u64{0} : target().scope;
      if ((word(0) & ~allowed) != 0) return Status::missing_right;
      notification->signal(cpu, word(0));
      return {};
    }
    default:  // yield
      if (cpu.scheduler.contends(*cpu.context)) {
        cpu.quantum_end_ns = 0;
        cpu.reschedule = true;
      }
      return {};
  }
}

void CallContext::finish(Result<void> outcome) {
  // It may wait already, or have left with a server that took its call, and even run again elsewhere.
  if (!thread.is_here(cpu) || thread.phase.status != ThreadStatus::running) return;
  Status status = outcome.status();
  if (status == Status::restart) {
    // A visitor goes on without going home in between.
    if (next_stop_ == nullptr && is_visit() && thread.flags.load(kRelaxed) == 0) next_stop_ = &cpu;
    if (next_stop_ != nullptr) return thread.depart(cpu, *next_stop_, Thread::Travel::call);
    thread.state.restart_call();
    return;
  }
  if (is_denial(status)) [[unlikely]]
    audit_denial(cpu, process(), denied_, u8(call_), status);
  if (delivered_) return;
  thread.state.rax = u64(status);
  thread.state.rdi = 0;
  for (u32 i = 0; i < kRegisterWords; ++i) thread.state.word[i] = status == Status::ok ? results_[i] : 0;
}

}  // namespace keel
