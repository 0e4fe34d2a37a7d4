#include "kernel/core/placement.h"

#include "kernel/core/machine.h"
#include "kernel/ipc/port.h"

namespace keel {
namespace {

constexpr u64 kShallowNs = 1'000'000;   // idle for longer, a CPU may be in a deep state
constexpr u64 kBalanceNs = 95'000'000;  // between two exchanges: some quanta
constexpr u64 kStayNs = 25'000'000;     // so much longer who came last is not given away: the others have a turn

u32 load_of(const Cpu& cpu) { return cpu.scheduler.ready_count() + (cpu.machine.busy.has(cpu.index) ? 1 : 0); }

// What tells CPUs of equal load apart: the energy that it takes to wake a parked one, then the distance.
u32 cost_of(const Cpu& here, const Cpu& other, u64 now) {
  const Machine& machine = here.machine;
  const u64 since = other.context_since;  // a guess: the other CPU writes it
  const bool parked = !machine.busy.has(other.index) && now > since && machine.clock.to_ns(now - since) > kShallowNs;
  return (parked ? 256 : 0) + machine.distances[here.node][other.node];
}

// Of the CPUs that `allowed` says yes to, from `first` on, the one with the least load and, of those, with the least
// cost; or null.
template <class F>
Cpu* least_loaded(Cpu& here, u32 first, F allowed) {
  Machine& machine = here.machine;
  const u32 count = machine.cpu_count.load(kAcquire);
  const u64 now = here.now_tsc();
  Cpu* best = nullptr;
  u64 least = ~u64{0};
  for (u32 i = 0; i < count; ++i) {
    Cpu& other = *machine.cpus[(first + i) % count];
    if (!allowed(other)) continue;
    const u64 price = u64{load_of(other)} << 32 | (&other == &here ? 0 : cost_of(here, other, now));
    if (price >= least) continue;
    best = &other;
    least = price;
  }
  return best;
}

// The thread that a CPU can spare for another and that would have its turn there, or null.
Thread* spare_thread(Cpu& cpu, const Cpu& thief, u32 level, u64 stays) {
  return cpu.scheduler.find([&](const Thread& t) {
    return t.caller == nullptr && t.may_run_on(thief) && !t.has_flags(~u32{0}) && t.context == &t.own_context &&
           t.context->level >= level && t.id() != stays && !t.reservation && t.borrower == nullptr &&
           t.lender == nullptr && !Scheduler::is_parked(t);
  });
}

}  // namespace

Cpu& choose_cpu(Cpu& here, const Thread& thread) {
  Cpu* best = least_loaded(here, 0, [&](const Cpu& cpu) { return thread.may_run_on(cpu); });
  return best != nullptr ? *best : here;
}

Result<void> set_affinity(Cpu& here, Thread& thread, u64 mask) {
  const u32 count = here.machine.cpu_count.load(kAcquire);
  if ((mask & (count < 64 ? (u64{1} << count) - 1 : ~u64{0})) == 0) return Status::invalid_argument;
  thread.affinity = mask;
  obey_affinity(here, thread);
  return {};
}

void obey_affinity(Cpu& here, Thread& thread) {
  if (thread.may_run_on(*thread.run_on) || thread.run_on != &here) return;
  if (thread.has_flags(Thread::kMoving)) return;                                             // make_ready() sees to it
  if (thread.reservation) return;                                                            // it is one CPU's
  if (thread.caller != nullptr || thread.callee != nullptr || thread.borrower != nullptr) {  // their link is local
    thread.set_flags(Thread::kMustMove);
    return;
  }
  thread.clear_flags(Thread::kMustMove);
  Cpu& to = choose_cpu(here, thread);
  if (&to == &here) return;
  switch (thread.status()) {
    case ThreadStatus::running:
      here.reschedule = true;  // leave_kernel() sends it there
      break;
    case ThreadStatus::ready:
      here.scheduler.remove(thread);
      thread.phase = {ThreadStatus::waiting, WaitKind::stopped};  // in no queue
      thread.leave_port();
      thread.run_at(here, to);
      thread.depart(here, to, Thread::Travel::ready);
      break;
    case ThreadStatus::fresh:
      thread.assign(here, to);
      break;
    case ThreadStatus::waiting:
      if (thread.waits_for(WaitKind::receive)) thread.receiving_from().step_back(thread);
      [[fallthrough]];
    default:
      thread.leave_port();
      thread.run_at(here, to);  // what it waits for stays where it is: make_ready() sends it
      break;
  }
}

void Thief::look_for_work() {
  if (std::exchange(refused_, false)) return;  // not again until something else has happened
  Machine& machine = owner_.machine;
  const u32 count = machine.cpu_count.load(kAcquire);
  Cpu* victim = nullptr;
  u32 most = 0;
  for (u32 i = 1; i < count && i <= kNeighbours; ++i) {
    Cpu& other = *machine.cpus[(owner_.index + i) % count];
    const u32 ready = other.scheduler.ready_count();
    const u32 gain = ready << 8 | (255 - machine.distances[owner_.node][other.node]);
    if (ready == 0 || gain <= most) continue;
    most = gain;
    victim = &other;
  }
  if (victim != nullptr) ask(*victim);
}

void Thief::ask(Cpu& victim) {
  has_ = owner_.scheduler.ready_count();
  if (out_ || victim.scheduler.ready_count() <= has_) return;
  level_ = owner_.context != nullptr ? owner_.context->level : 0;
  out_ = true;
  owner_.send(victim, *this);
}

void Thief::share(u64 now_ns) {
  // Each CPU prefers another one, so that what is too much goes around.
  Cpu* to = least_loaded(owner_, owner_.index + 1, [&](const Cpu& other) { return &other != &owner_; });
  if (to == nullptr || out_) return;
  const bool fair = now_ns < next_offer_ns_ || owner_.scheduler.ready_count() <= to->scheduler.ready_count();
  if (fair && owner_.machine.busy.has(to->index)) return;
  out_ = offers_ = true;
  owner_.send(*to, *this);
}

void Thief::arrive(Cpu& cpu) {
  if (&cpu == &owner_) {
    out_ = offers_ = false;
    if (refused_ = taken_ == 0; refused_) return;
    newcomer_ = std::exchange(taken_, 0);
    next_offer_ns_ = cpu.now_ns() + kBalanceNs;
    return;
  }
  if (offers_) {
    cpu.thief.ask(owner_);
  } else if (cpu.scheduler.ready_count() > has_) {
    Thief& own = cpu.thief;
    const u64 now = cpu.now_ns();
    const u64 stays = level_ > 0 && now < own.next_offer_ns_ + kStayNs ? own.newcomer_ : 0;
    if (Thread* thread = spare_thread(cpu, owner_, level_, stays)) {
      own.next_offer_ns_ = now + kBalanceNs;
      taken_ = thread->id();
      cpu.scheduler.remove(*thread);
      thread->leave_port();
      thread->run_at(cpu, owner_);
      thread->depart(cpu, owner_, Thread::Travel::ready);
    }
  }
  cpu.send(owner_, *this);
}

}  // namespace keel
