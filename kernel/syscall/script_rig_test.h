// For tests: bytes as a sequence of system calls, faults, interrupts and passing time in a machine with several
// processes and threads, after which everything must be given back. Driven by call_fuzz.cc and call_script_test.cc.
#pragma once

#include <span>

#include "abi/fuzz_calls.h"
#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {

class CallScript {
 public:
  explicit CallScript(std::span<const u8> bytes) : bytes_(bytes) {}

  // Traps when an invariant breaks or something is not given back.
  void run() {
    TestKernel k(16 * kMiB);
    const auto before = k.baseline();
    k_ = &k;
    set_up();
    for (u32 steps = 0; at_ < bytes_.size() && steps < kMaxSteps; ++steps) {
      step();
      k.check();
    }
    k.machine().faults.fail_after(0);
    for (auto& domain : domains_) {
      while (!domain->release_some(k.cpu())) {
      }
    }
    domains_.clear();
    k.tear_down();
    if (k.baseline() != before) TestKernel::fail("not everything was given back");
    k_ = nullptr;
  }

 private:
  static constexpr u32 kMaxSteps = 400;
  static constexpr u64 kShared = 0x10'0000'0000;

  void set_up() {
    TestKernel& k = *k_;
    Process* processes[3];
    Thread* threads[5];
    static constexpr u32 kHome[5] = {0, 0, 1, 1, 2};
    static constexpr u32 kLevel[5] = {16, 20, 16, 30, 5};
    auto group = MUST(ResourceGroup::create(k.cpu(), k.root()));
    group->set_limit(Resource::frames, 2500);
    group->set_limit(Resource::kernel_bytes, 600'000);
    for (auto& process : processes) process = &k.make_process(*group);
    for (u32 i = 0; i < 5; ++i) threads[i] = &k.make_thread(*processes[kHome[i]], kLevel[i]);
    auto shared = MUST(MemoryObject::create_anonymous(k.cpu(), *group, 200));
    auto port = MUST(Port::create(k.cpu(), *group, 3));
    auto handler = MUST(Port::create(k.cpu(), *group, 0));
    auto notification = MUST(Notification::create(k.cpu(), *group));
    auto reply = MUST(Reply::create(k.cpu(), *group));
    auto set = MUST(WaitSet::create(k.cpu(), *group));
    auto context = MUST(Reservation::create(k.cpu(), *group));
    MUST(context->configure(k.cpu(), 22, 200'000, 1'000'000));
    group->set_cpu(k.cpu(), 3'000'000, 10'000'000, 50);
    Machine& m = k.machine();
    for (u32 i = 0; i < 3; ++i) {
      Process& p = *processes[i];
      if (i == 0) {
        k.give(p, *group);
        k.give(p, *shared);
        k.give(p, *port);
        k.give(p, *handler);
        k.give(p, *notification);
        k.give(p, *reply);
        k.give(p, *set);
        k.give(p, *context);
        k.give(p, m.interrupt_control());
        k.give(p, m.io_ports());
        k.give(p, m.sealer());
        MUST(p.caps.insert_root(k.cpu(), m.kernel_control(),
                                Rights(all_rights(ObjectKind::kernel_control) &
                                       ~(rights::kernel_control::power | rights::kernel_control::tune)),
                                0));
        for (Process* other : processes) {
          k.give(p, *other);
          k.give(p, *other->space());
        }
        for (Thread* t : threads) k.give(p, *t);
      } else {
        // Children of what the first process has.
        u32 cursor = 0;
        while (cursor < 60) {
          CapSlot* slot = processes[0]->caps.next(&cursor);
          if (slot == nullptr) break;
          const ObjectKind kind = CapSlot::kind(slot->load());
          const bool all =
              i == 1 || kind == ObjectKind::port || kind == ObjectKind::memory || kind == ObjectKind::group;
          if (all) MUST(p.caps.insert_child(k.cpu(), *slot, CapSlot::rights(slot->load()), 0));
          ++cursor;
        }
        k.give(p, *p.space());
      }
      // Memory at the same place in all, mapped through the capability.
      u32 cursor = 0;
      CapSlot* slot = nullptr;
      while ((slot = p.caps.next(&cursor)) != nullptr && CapSlot::kind(slot->load()) != ObjectKind::memory) ++cursor;
      MUST(p.space()->map(k.cpu(), {.memory = *shared,
                                    .parent = slot->node(),
                                    .pages = 200,
                                    .prot = Protection::read_write,
                                    .max = Protection::read_write,
                                    .at = VirtAddr(kShared),
                                    .fixed = true}));
      MUST(p.space()->populate(k.cpu(), VirtAddr(kShared), 4 * kPageSize));
    }
    MUST(processes[2]->set_handler(k.cpu(), {*handler, nullptr, *group, 77}));
  }

  u8 byte() { return at_ < bytes_.size() ? bytes_[at_++] : 0; }

  // A thread that can make a call: the one that runs, or any other that is runnable.
  Thread* choose_thread() {
    const u8 b = byte();
    if (b >= 160 && k_->cpu().current != nullptr) return k_->cpu().current;
    Thread* found[32];
    u32 count = 0;
    Machine& m = k_->machine();
    for (Process* p = m.next_process(k_->cpu(), 0); p != nullptr; p = m.next_process(k_->cpu(), p->id())) {
      if (!p->alive()) continue;
      p->for_each_thread(k_->cpu(), ~u32{0}, [&](Thread& t) {
        if (count < 32 && TestKernel::runnable(t)) found[count++] = &t;
      });
    }
    return count == 0 ? nullptr : found[b % count];
  }

  // An index that the process holds, of the kind if there is one; sometimes a stale or a made-up one.
  u64 choose_capability(Process& p, ObjectKind kind) {
    const u8 b = byte();
    if (b >= 250) return stale_;
    if (b >= 246) return number();
    CapIndex any[64];
    CapIndex fitting[64];
    u32 n = 0;
    u32 fits = 0;
    for (u32 cursor = 0; cursor < 256; ++cursor) {
      CapSlot* slot = p.caps.next(&cursor);
      if (slot == nullptr || cursor >= 256) break;
      const CapIndex index = slot->index();
      if (n < 64) any[n++] = index;
      if (fits < 64 && CapSlot::kind(slot->load()) == kind) fitting[fits++] = index;
    }
    if (n == 0) return 0;
    const u64 chosen = fits > 0 && b < 235 ? fitting[b % fits].value : any[b % n].value;
    stale_ = chosen;
    return chosen;
  }
  u64 number() {
    static constexpr u64 kEdges[] = {0,
                                     1,
                                     2,
                                     3,
                                     4,
                                     7,
                                     8,
                                     15,
                                     16,
                                     17,
                                     31,
                                     63,
                                     64,
                                     65,
                                     127,
                                     200,
                                     201,
                                     448,
                                     449,
                                     480,
                                     511,
                                     512,
                                     0xfff,
                                     0x1000,
                                     0xffff,
                                     0x10000,
                                     100'000,
                                     0x7fff'ffff,
                                     0xffff'ffff,
                                     u64{1} << 32,
                                     u64{5} << 32,
                                     u64{1} << 32 | 2,
                                     ~u64{0} << 32,
                                     u64{1} << 47,
                                     u64{1} << 63,
                                     ~u64{0} - 1,
                                     ~u64{0}};
    const u8 b = byte();
    if (b < 64) return b;
    if (b < 128) return kEdges[b % std::size(kEdges)];
    if (b < 160) return u64{b - 128u} | u64{byte()} << 32;
    if (b < 224) return u64{b - 160u} * kPageSize;
    u64 value = 0;
    for (u32 i = 0; i < 8; ++i) value = value << 8 | byte();
    return value;
  }
  u64 address(Process& p) {
    const u8 b = byte();
    if (b < 140) return kShared + u64{b} % 8 * 0x1000 + u64{b} / 8 * 4;
    if (b < 200) {
      RegionInfo regions[8];
      const u32 n = p.space()->regions(k_->cpu(), kUserBase, regions);
      if (n > 0) return regions[b % n].start.value + (b % 3) * 0x1000;
    }
    if (b < 240) return kShared + u64{byte()} * kPageSize;
    return number();
  }
  u64 time() {
    const u8 b = byte();
    if (b < 60) return 0;
    if (b < 120) return ~u64{0};
    if (b < 200) return k_->now() + u64{b} * 10'000;
    if (b < 230) return k_->now() - 5;
    return number();
  }
  u64 message(Thread& t) {
    const u8 b = byte();
    u32 words = b % 10;
    if (b > 230) words = 480;
    if (b > 245) words = b % 512;
    const u8 shape = byte();
    const u32 caps = shape < 110 ? 0 : shape > 250 ? 7 : 1 + shape % 4;
    u64 d = Descriptor::make(words, caps, shape >> 3 & 15);
    MessagePage& page = *t.message_page;
    for (u32 i = 0; i < caps && i < kMaxMessageCaps; ++i)
      page.capabilities[i] = choose_capability(*t.process, kinds_[byte() % 4]);
    if ((shape & 1) != 0) {
      d |= Descriptor::kDeadline;
      page.deadline = time();
    }
    return d;
  }

  void system_call() {
    Thread* chosen = choose_thread();
    if (chosen == nullptr) return pass_time();
    RefPtr<Thread> keep(*chosen);
    Thread& t = *chosen;
    Process& p = *t.process;
    const FuzzCall& call = kFuzzCalls[byte() % std::size(kFuzzCalls)];
    u64 descriptor = 0;
    u64 words[kRegisterWords] = {};
    u64 target = 0;
    const Call number_of_call = Call(call.number);
    const bool any = number_of_call >= Call::cap_derive && number_of_call <= Call::cap_derive_until &&
                     number_of_call != Call::cap_grant;
    // These end scripts early; they come up often enough.
    if ((number_of_call == Call::process_kill || number_of_call == Call::thread_exit) && byte() < 230) return;
    if (call.object != ObjectKind::none || any) {
      target = choose_capability(p, any ? kinds_[byte() % std::size(kinds_)] : call.object);
    }
    for (u32 i = 0; i < kRegisterWords; ++i) words[i] = argument(t, call, i, &descriptor);
    if (call.blocks && call.args[0] == FuzzArg::none && (byte() & 1) != 0) {
      descriptor |= Descriptor::kDeadline;  // receive
      t.message_page->deadline = time();
    }
    if (byte() >= 253) descriptor = number() << 8;
    k_->set_call(t, u64(call.number) | descriptor, target,
                 {words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]});
    k_->fast = (call.number & 1) == (words[0] & 1);
    k_->enter_once(t);
    // Half of the calls that are to be restarted are abandoned for a while, as by preemption.
    if (TestKernel::restarts(t) && (byte() & 1) != 0) (void)k_->result(t);
    if (call.number == u8(Call::cap_seal) && TestKernel::runnable(t) && (t.state.rax & 0xff) == 0) {
      for (u32 i = 0; i < 5; ++i) token_[i] = t.state.word[i];
    }
    if (call.number == u8(Call::dma_create) && TestKernel::runnable(t) && (t.state.rax & 0xff) == 0) {
      if (auto slot = p.caps.find(CapIndex(t.state.word[0])); slot.has_value()) {
        if ((*slot)->object->kind() == ObjectKind::dma_domain) {
          domains_.push_back(RefPtr<DmaDomain>(static_cast<DmaDomain&>(*(*slot)->object)));
        }
      }
    }
  }
  u64 argument(Thread& t, const FuzzCall& call, u32 i, u64* descriptor) {
    Process& p = *t.process;
    const bool derives = call.number == u8(Call::cap_derive) || call.number == u8(Call::cap_derive_until);
    switch (call.args[i]) {
      case FuzzArg::none:
        return 0;
      case FuzzArg::number:
        if (i == 0 && call.number == u8(Call::space_map)) return choose_capability(p, ObjectKind::memory);
        if (i == 0 && (call.number == u8(Call::cap_grant) || call.number == u8(Call::cap_seal)))
          return choose_capability(p, kinds_[byte() % std::size(kinds_)]);
        if (call.number >= u8(Call::space_map) && call.number <= u8(Call::space_protect) && byte() < 128)
          return address(p);
        if (call.number == u8(Call::cap_unseal) && byte() < 250) return token_[i];
        if (call.number == u8(Call::wait_set_add) && i == 0)
          return choose_capability(p, (byte() & 1) != 0 ? ObjectKind::port : ObjectKind::notification);
        if (call.object == ObjectKind::wait_set) return byte() % 4u;
        if (call.number == u8(Call::capability_list)) return byte() % 40u;
        if (i < 2 && (derives || call.number == u8(Call::cap_grant)) && byte() < 200) {
          if (derives && i == 1) return 0;
          CapSlot* slot =
              p.caps.find(CapIndex(t.state.rdi)).has_value() ? MUST(p.caps.find(CapIndex(t.state.rdi))) : nullptr;
          return slot != nullptr ? CapSlot::rights(slot->load()) & ~u64{byte() & 1u} : 0xffu;
        }
        if (call.number == u8(Call::space_map) && i < 3) return byte() % 20u;
        if (call.number == u8(Call::word_wait)) return byte() & 1u;
        if (call.number == u8(Call::io_read) || call.number == u8(Call::io_write)) return byte() % 8u;
        if (call.number == u8(Call::memory_create)) return byte() % 130u;
        if (call.number == u8(Call::thread_create) || call.number == u8(Call::thread_set_level)) return byte() % 66u;
        if (call.number == u8(Call::log_write)) return byte() % 4u;
        if (call.number == u8(Call::context_configure)) return i == 0 ? byte() % 66u : (byte() % 64u) * 10'000;
        if (call.number == u8(Call::group_set_cpu)) return (byte() % 64u) * 10'000;
        if (call.number == u8(Call::thread_list)) return byte() % 40u;
        return number();
      case FuzzArg::address:
        return address(p);
      case FuzzArg::time:
        return time();
      case FuzzArg::flags:
        return byte() & (call.number == u8(Call::memory_create) ? 3u : 31u);
      case FuzzArg::capability:
        return choose_capability(p,
                                 call.object == ObjectKind::port                ? ObjectKind::notification
                                 : call.number == u8(Call::process_set_handler) ? ObjectKind::port
                                 : call.number == u8(Call::dma_map)             ? ObjectKind::memory
                                 : call.number == u8(Call::thread_set_context)  ? ObjectKind::scheduling_context
                                 : call.number == u8(Call::dma_create) || call.object == ObjectKind::interrupt_control
                                     ? ObjectKind::group
                                     : ObjectKind::notification);
      case FuzzArg::message:
        *descriptor = message(t);
        return byte() & 3u;
    }
    return 0;
  }

  void pass_time() { k_->advance(u64{byte()} * u64{byte()} * 1000); }

  void step() {
    const u8 op = byte();
    if (op < 200) return system_call();
    if (op < 215) return pass_time();
    if (op < 222) return k_->interrupt(InterruptTable::kFirstVector + byte() % 4);
    if (op < 232) {
      if (Thread* t = choose_thread()) {
        k_->make_current(*t);
        t->state.resume = arch::ResumeKind::interrupted;
        enter_page_fault(k_->cpu(), address(*t->process), byte() & 0x17);
      }
      return;
    }
    if (op < 236) {
      if (Thread* t = choose_thread()) {
        k_->make_current(*t);
        t->state.resume = arch::ResumeKind::interrupted;
        enter_exception(k_->cpu(), FaultKind(1 + byte() % 10), byte());
      }
      return;
    }
    if (op < 246) return k_->machine().faults.fail_after(1 + byte() % 6);
    if (op < 250) return k_->machine().faults.fail_after(0);
    k_->settle();
  }

  static constexpr ObjectKind kinds_[] = {
      ObjectKind::port,       ObjectKind::memory, ObjectKind::notification, ObjectKind::reply,     ObjectKind::thread,
      ObjectKind::process,    ObjectKind::group,  ObjectKind::timer,        ObjectKind::interrupt, ObjectKind::io_ports,
      ObjectKind::dma_domain, ObjectKind::sealer, ObjectKind::wait_set};

  std::span<const u8> bytes_;
  usize at_ = 0;
  TestKernel* k_ = nullptr;
  u64 stale_ = 0;
  u64 token_[kRegisterWords] = {};  // what was sealed last
  std::vector<RefPtr<DmaDomain>> domains_;
};

}  // namespace keel::testing
