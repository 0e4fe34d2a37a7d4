#include "tests/simulator/world.h"

#include <arch/context.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#include "kernel/core/scheduler_check_test.h"
#include "kernel/ipc/fast.h"

namespace keel::simulator {

const char* World::banner = "";
bool World::trace = false;

static const char* thread_state_name(ThreadStatus status) {
  constexpr const char* kNames[] = {"fresh", "ready", "running", "waiting", "dead"};
  return kNames[u32(status)];
}

World::World(u32 cpus, u64 seed, Mode mode)
    : bytes_(kBytes + (cpus > kFewCpus ? cpus * kBytesPerCpu : 0)),
      mode_(mode),
      memory_(static_cast<char*>(
          mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))),
      machine_(std::make_unique<Machine>()),
      simulation_(cpus, seed, *this) {
  for (u32 i = 0; i < cpus; ++i) {
    cpus_.push_back(std::make_unique<Cpu>(*machine_, i));
    cpus_[i]->arch.clock = now_;
    machine_->add_cpu(*cpus_[i]);
    machine_->attach(*cpus_[i]);
  }
  const PhysRange ram[] = {{PhysAddr(reinterpret_cast<u64>(memory_)), bytes_}};
  MUST(machine_->frames.initialise(ram, {}));
  MUST(machine_->initialise(*cpus_[0]));
  machine_->log.set_console(*cpus_[0], false);
  machine_->random.seed(*cpus_[0], {seed, 2, 3, 4});
  before_ = baseline();
}

World::~World() {
  cpus_.clear();
  machine_.reset();
  munmap(memory_, bytes_);
}

void World::fail(const char* what) {
  std::fprintf(stderr, "%s: %s\n", banner, what);
  for (const RefPtr<Thread>& t : threads_) {
    std::fprintf(
        stderr,
        "thread %llu: %s, wait %u, flags %#x, at cpu %u, of cpu %u, call %llu of %llx, caller %llu, callee %llu\n",
        (unsigned long long)t->id(), thread_state_name(t->status()), u32(t->phase.wait), t->flags.load(kRelaxed),
        t->home()->index, t->run_on->index, (unsigned long long)(t->state.rax & 0xff), (unsigned long long)t->state.rdi,
        (unsigned long long)(t->caller != nullptr ? t->caller->id() : 0),
        (unsigned long long)(t->callee != nullptr ? t->callee->id() : 0));
  }
  std::abort();
}

Cpu& World::now_on() { return *cpus_[simulation_.in_fiber() ? simulation_.current() : 0]; }

Process& World::process(ResourceGroup& group) {
  processes_.push_back(MUST(Process::create(now_on(), group, ProcessName{"sim"})));
  return *processes_.back();
}

Thread& World::thread(Process& process, u32 level, Program program, Cpu* pin) {
  // Each starts somewhere.
  Cpu& where = pin != nullptr ? *pin : simulation_.in_fiber() ? now_on() : *cpus_[random(cpus())];
  threads_.push_back(MUST(Thread::create(where, process, level)));
  Thread& t = *threads_.back();
  programs_[t.id()] = std::move(program);
  if (pin == nullptr) {
    t.start(where, kStart, 0x7000'0000, 0, 0);
  } else {
    MUST(set_affinity(where, t, u64{1} << pin->index % 64));
    t.state.start(kStart, 0x7000'0000, 0, 0);
    t.make_ready(where);
    arch::interrupt_self(where);
  }
  return t;
}

CapIndex World::copy(Process& from, CapIndex source, Process& to, Rights rights, u64 scope) {
  CapSlot* slot = MUST(from.caps.find(source));
  return MUST(
      to.caps.insert_child(now_on(), *slot, rights & CapSlot::rights(slot->load()), scope == 0 ? slot->scope : scope));
}

void World::run() { simulation_.run(); }

void World::run_cpu(u32 index) {
  Cpu& cpu = *cpus_[index];
  (void)enter_first(cpu);
  for (;;) {
    now_ += mode_ == Mode::steady ? 10 : random(300);
    cpu.arch.clock = now_;
    if (++entries_ > kMostEntries * scale() * scale()) fail("it does not come to an end");
    if (cpu.scheduler.check() < 0) fail("scheduler queues");
    const bool called = cpu.arch.ipi.exchange(false, kAcqRel);
    const u64 points = simulation_.points_here();
    if (called) {
      (void)enter_ipi(cpu);
    } else if (cpu.arch.self_interrupt) {
      cpu.arch.self_interrupt = false;
      (void)enter_self_interrupt(cpu);
    } else if (cpu.arch.timer_ns <= now_) {
      cpu.arch.timer_ns = ~u64{0};
      (void)enter_timer(cpu);
    } else if (Thread* t = cpu.current) {
      user(cpu, *t);
    } else {
      simulation_.park();
    }
    kernel_points_ += simulation_.points_here() - points;
  }
}

bool World::is_awake(u32 index) {
  const Cpu& cpu = *cpus_[index];
  return cpu.arch.ipi.load(kRelaxed) || cpu.arch.self_interrupt || cpu.arch.timer_ns <= now_ || cpu.current != nullptr;
}

bool World::all_asleep() {
  u64 next = ~u64{0};
  for (const auto& cpu : cpus_) next = cpu->arch.timer_ns < next ? cpu->arch.timer_ns : next;
  if (next == ~u64{0}) return false;
  now_ = next;
  return true;
}

void World::user(Cpu& cpu, Thread& t) {
  for (const auto& other : cpus_) {
    if (other.get() != &cpu && other->current == &t) fail("a thread runs on two CPUs");
  }
  if (t.status() != ThreadStatus::running) fail("a thread runs that does not");
  if (t.run_on != &cpu) fail("a thread runs on another CPU than it should");
  if (t.home() != &cpu) fail("a thread runs away from home");
  if (t.process->state() == ProcessState::dead) fail("a thread of a dead process runs");
  const SchedulingContext* context = t.lender != nullptr                               ? t.lender->context
                                     : t.caller != nullptr && t.caller->run_on == &cpu ? t.caller->context
                                                                                       : &t.own_context;
  if (t.context != context) fail("a thread runs on a context that it should not have");
  if (cpu.context != t.context) fail("somebody else pays");
  auto& s = t.state;
  if (s.rip == kCallSite) {  // to be run again
    s.rip += 2;
    return enter(cpu, t);
  }
  if (mode_ == Mode::random && chance(16)) return simulation_.point();  // it computes a while
  Answer last;
  last.first = s.rip == kStart;
  last.status = Status(s.rax & 0xff);
  last.descriptor = Descriptor{s.rax & ~u64{0xff}};
  last.badge = s.rdi;
  for (u32 i = 0; i < kRegisterWords; ++i) last.word[i] = s.word[i];
  auto program = programs_.find(t.id());
  const Act act = program == programs_.end() ? leave() : program->second(t, last);
  if (act.compute) {
    now_ += act.compute_ns;
    if (act.compute_ns != 0) simulation_.give_way();  // the others do as much
    return;
  }
  if (act.fault) {
    s.resume = arch::ResumeKind::interrupted;
    (void)enter_page_fault(cpu, act.fault_at != 0 ? act.fault_at : kNowhere, act.fault_at != 0 ? 2 : 0);
    return;
  }
  s.rax = u64(act.call) | act.descriptor;
  s.rdi = act.capability.value;
  for (u32 i = 0; i < kRegisterWords; ++i) s.word[i] = i < act.words.size() ? act.words[i] : 0;
  s.rip = kCallSite + 2;
  s.resume = arch::ResumeKind::system_call;
  if (trace) {
    std::fprintf(stderr, "%8llu cpu %u thread %llu: call %u cap %llx words %llx %llx\n", (unsigned long long)now_,
                 cpu.index, (unsigned long long)t.id(), u32(act.call), (unsigned long long)act.capability.value,
                 (unsigned long long)s.word[0], (unsigned long long)s.word[1]);
  }
  enter(cpu, t);
  if (trace && cpu.current == &t && t.state.rip != kCallSite) {
    std::fprintf(stderr, "%8llu cpu %u thread %llu: -> %s %llx\n", (unsigned long long)now_, cpu.index,
                 (unsigned long long)t.id(), status_name(Status(s.rax & 0xff)), (unsigned long long)s.word[0]);
  }
}

void World::enter(Cpu& cpu, Thread& t) {
  const auto& s = t.state;
  const auto& w = s.word;
  switch (Call(s.rax & 0xff)) {
    case Call::call:
      return fast_call(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu, s.rax);
    case Call::reply_receive:
      return fast_reply_receive(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu, s.rax);
    case Call::notification_signal:
      return fast_signal(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu, s.rax);
    case Call::notification_wait:
      return fast_wait(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu, s.rax);
    case Call::yield:
      return fast_yield(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu, s.rax);
    case Call::cap_derive:
      return fast_derive(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu, s.rax);
    default:
      (void)enter_system_call(cpu);
  }
}

void World::check_all() {
  for (const auto& cpu : cpus_) {
    if (cpu->scheduler.check() < 0) fail("scheduler queues");
    if (!cpu->work.empty()) fail("a CPU is idle and has work");
    if (cpu->current != nullptr) fail("a CPU is asleep and has a thread");
  }
  if (!machine_->orphans.empty()) fail("an orphan is left");
  for (const RefPtr<Thread>& held : threads_) {
    const Thread& t = *held;
    if (t.status() == ThreadStatus::ready || t.status() == ThreadStatus::running)
      fail("a thread is ready and nobody runs it");
    if (t.has_flags(Thread::kMoving)) fail("a thread is on its way for ever");
    if (t.status() == ThreadStatus::dead) continue;
    if (t.callee != nullptr && t.callee->caller != &t) fail("caller and callee do not agree");
    if (t.caller != nullptr && t.caller->callee != &t && !t.waits()) fail("callee and caller do not agree");
    if (t.waits_for(WaitKind::reply) && t.callee == nullptr && t.reply_object == nullptr)
      fail("a reply is awaited from nobody");
    if (t.wait_queue.linked() && !t.waits()) fail("a thread is in a wait queue and does not wait");
    if (!t.process->alive()) fail("a process is going and a thread of it is not");
  }
}

World::Baseline World::baseline() {
  for (const auto& cpu : cpus_) {
    machine_->heap.drain(*cpu);
    machine_->frames.drain(*cpu);
  }
  const auto s = machine_->frames.statistics();
  auto& root = machine_->root_group();
  return {s.free, s.kernel, s.user, s.page_table, root.usage(Resource::frames), root.usage(Resource::kernel_bytes)};
}

void World::finish() {
  check_all();
  for (const auto& p : processes_) p->kill(*cpus_[0], 0);
  for (const auto& drop : drops_) drop();
  drops_.clear();
  threads_.clear();
  processes_.clear();
  Cpu& first = *cpus_[0];
  for (u32 round = 0;; ++round) {
    arch::interrupt_self(first);
    run();
    check_all();
    Process* left = machine_->next_process(first, 0);
    if (left == nullptr) break;
    if (round == 20) fail("a process is left over");
    left->kill(first, 0);
  }
  if (machine_->thread_count() != 0) fail("a thread is left over");
  for (const auto& cpu : cpus_) {
    if (cpu->timers.earliest() != kForever) fail("a timer is left over");
  }
  const Baseline after = baseline();
  if (after != before_) {
    std::fprintf(stderr, "before: free %llu kernel %llu user %llu tables %llu frames %llu bytes %llu\n",
                 (unsigned long long)before_.free, (unsigned long long)before_.kernel, (unsigned long long)before_.user,
                 (unsigned long long)before_.page_table, (unsigned long long)before_.frames,
                 (unsigned long long)before_.bytes);
    std::fprintf(stderr, "after:  free %llu kernel %llu user %llu tables %llu frames %llu bytes %llu\n",
                 (unsigned long long)after.free, (unsigned long long)after.kernel, (unsigned long long)after.user,
                 (unsigned long long)after.page_table, (unsigned long long)after.frames,
                 (unsigned long long)after.bytes);
    fail("not everything was given back");
  }
}

}  // namespace keel::simulator
