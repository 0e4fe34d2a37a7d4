// Donation beyond one call. A call lends the caller's context to the server (Port), and calls of the server pass it on:
// whoever runs on a context is at the end of a chain that begins with its owner (Thread::deputy). That leaves two ways
// for a thread to wait for somebody who is held up, both of them at a port whose servers are all busy:
//
//   The server has a lower level.     The context that it runs on gets the level of the best waiter, until it no longer
//                                     serves or nobody better waits (refresh_level). If the end of its chain is queued
//                                     at a port in turn, so do the servers there.
//   The server's budget is used up.   It goes on with the best waiter's context, until it has replied or the waiter
//                                     leaves (borrow_context, stop_lending). Without a waiter that has budget left it
//                                     is parked until its own is replenished; the next caller wakes it.
//
// Levels and loans are looked at again when a caller queues or leaves, when a call ends, and when a level changes. The
// fast paths never are in such a place: a port with waiting callers keeps its servers off them (Port::backlog_).
//
// Chains have no cycles: a link leads from a thread that has none to one that is ready, running or receives.
#include "kernel/core/cpu.h"
#include "kernel/core/thread.h"
#include "kernel/ipc/port.h"

namespace keel {
namespace {

// One change of a level reaches this many contexts at most, over all ports with many servers.
constexpr u32 kMaxRefreshed = 64;

void refresh(Cpu& cpu, SchedulingContext& context, u32 hops, u32& left) {
  if (left == 0) return;
  --left;
  u32 level = context.base_level;
  Thread* last = nullptr;  // of those who run on it: the one that is not waiting for the next
  for (Thread* t = context.owner; t != nullptr && t->is_here(cpu) && t->context == &context; t = t->deputy()) {
    // A caller of another CPU lends no context, but its level counts.
    if (t->caller != nullptr && t->context == &t->own_context && t->caller->context->level > level) {
      level = t->caller->context->level;
    }
    if (t->is_busy_server() && t->serves->best_level() > level) level = t->serves->best_level();
    last = t;
  }
  if (level == context.level) return;
  context.set_level(level);
  if (last == nullptr) return;
  if (last->status() == ThreadStatus::ready) {
    last->requeue(cpu);
  } else if (cpu.context == &context) {
    cpu.timer_stale = true;
    if (cpu.scheduler.outranks(*cpu.context)) cpu.reschedule = true;
  } else if (last->caller_hook.linked()) {
    Port& port = *static_cast<Port*>(last->wait.object);
    port.reorder(*last);
    if (hops > 1) port.for_some_servers([&](Thread& server) { refresh(cpu, *server.context, hops - 1, left); });
  }
}

}  // namespace

void refresh_level(Cpu& cpu, SchedulingContext& context) {
  u32 left = kMaxRefreshed;
  refresh(cpu, context, kMaxInheritance, left);
}

void Port::refresh_servers(Cpu& cpu) {
  u32 left = kMaxRefreshed;
  for_some_servers([&](Thread& server) {
    refresh(cpu, *server.context, kMaxInheritance, left);
    Thread* last = runner_of(cpu, *server.context);
    if (last == nullptr || last->status() != ThreadStatus::ready || !Scheduler::is_parked(*last)) return;
    last->requeue(cpu);  // it may borrow when it is picked
  });
}

void move_contexts(Cpu& cpu, Thread* first, SchedulingContext& from, SchedulingContext& to) {
  for (Thread* t = first; t != nullptr && t->is_here(cpu) && t->context == &from; t = t->deputy()) {
    const bool queued = t->phase.status == ThreadStatus::ready;
    if (queued) cpu.scheduler.remove(*t);
    t->context = &to;
    if (queued) cpu.scheduler.enqueue_back(*t);
    if (cpu.current == t) cpu.change_context(t->context);
    if (t->caller_hook.linked()) {
      Port& port = *static_cast<Port*>(t->wait.object);
      port.reorder(*t);
      port.refresh_servers(cpu);
    }
  }
}

Thread* runner_of(Cpu& cpu, SchedulingContext& context) {
  Thread* last = nullptr;
  for (Thread* t = context.owner; t != nullptr && t->is_here(cpu) && t->context == &context; t = t->deputy()) last = t;
  return last;
}

bool Thread::borrow_context(Cpu& on, u64 now) {
  on.scheduler.enqueue_back(*this);
  // What is lent already goes back: the lender has nothing left either, but the server's own may have been replenished.
  // Who is away has its own context, and a link that may be stale (Thread I6).
  for (Thread* t = this; t != nullptr && t->context == context; t = t->caller) {
    if (t->lender == nullptr || t->lender->context != context) continue;
    t->lender->stop_lending(on);
    if (context->account->exhausted(on, now) == nullptr) return true;
    break;
  }
  SchedulingContext& empty = *context;
  Thread* server = this;
  for (u32 n = 0; n < kMaxInheritance && server != nullptr && server->context == &empty; ++n, server = server->caller) {
    Thread* willing = server->is_busy_server() ? server->serves->best_lender(on, now) : nullptr;
    if (willing == nullptr) continue;
    willing->borrower = server;
    server->lender = willing;
    move_contexts(on, server, empty, *willing->context);
    refresh_level(on, empty);
    refresh_level(on, *willing->context);
    return true;
  }
  on.scheduler.remove(*this);
  return false;
}

void Thread::stop_lending(Cpu& cpu) {
  Thread* server = borrower;
  if (server == nullptr) return;
  borrower = nullptr;
  server->lender = nullptr;
  const bool donated = server->caller != nullptr && server->caller->run_on == &cpu;
  SchedulingContext& back = donated ? *server->caller->context : server->own_context;
  move_contexts(cpu, server, *context, back);
  refresh_level(cpu, *context);
  refresh_level(cpu, back);
}

}  // namespace keel
