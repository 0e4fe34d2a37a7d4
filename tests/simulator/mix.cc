// Threads of two processes do anything to anything, themselves included: what a fuzzer does, but deterministically,
// with CPUs that interleave as the seed says. No outcome is expected but that every thread comes to its end, that the
// World's invariants hold, and that everything is given back.
#include "kernel/core/reservation.h"
#include "tests/simulator/scenarios.h"

namespace keel::simulator {
namespace {

constexpr u32 kThreads = 5;
constexpr u32 kActs = 14;

// What a process holds.
struct Hands {
  std::vector<CapIndex> ports, notifications, replies, timers, contexts, threads, sets;
  CapIndex process, group;
  u64 word = 0;  // an address
};

// Something derived that is to be given up again.
struct Own {
  CapIndex derived, context, thread;
  CapIndex* asked = nullptr;  // where the capability goes that was asked for
  u32 left = kActs;
};

CapIndex any(World& w, const std::vector<CapIndex>& of) { return of[w.random(of.size())]; }
u64 soon(World& w) { return w.chance(6) ? 0 : w.now() + w.random(5000); }

Act with_deadline(World& w, Thread& self, Call call, CapIndex capability, u64 descriptor) {
  self.message_page->deadline = soon(w);
  return ask(call, capability, {w.random(100)}, descriptor | Descriptor::kDeadline);
}

Act something(World& w, Thread& self, const Hands& h, Own& own) {
  const u64 one_word = Descriptor::make(1);
  switch (w.random(37)) {
    case 0:
    case 1:
    case 2:
      return with_deadline(w, self, Call::call, any(w, h.ports), one_word);
    case 3:
    case 4:
      return with_deadline(w, self, Call::receive, any(w, h.ports), 0);
    case 5:
    case 6:
      return with_deadline(w, self, Call::reply_receive, any(w, h.ports), one_word);
    case 7:
      return ask(Call::reply_take, any(w, h.replies));
    case 8:
      return ask(Call::reply_send, any(w, h.replies), {1}, one_word);
    case 9:
      return ask(Call::send, any(w, h.ports), {1}, one_word);
    case 10:
      return ask(Call::port_bind, any(w, h.ports), {w.chance(4) ? 0 : any(w, h.notifications).value});
    case 11:
      return ask(Call::notification_signal, any(w, h.notifications), {u64{1} << w.random(8)});
    case 12:
    case 13:
      return ask(Call::notification_wait, any(w, h.notifications), {soon(w)});
    case 14:
      return ask(Call::timer_set, any(w, h.timers), {w.now() + w.random(5000), 0});
    case 15:
      return ask(Call::thread_suspend, any(w, h.threads));
    case 16:
      return ask(w.chance(2) ? Call::thread_resume : Call::thread_cancel, any(w, h.threads));
    case 17:
      return ask(Call::thread_set_level, any(w, h.threads), {kNormalLevel + w.random(4)});
    case 18:
    case 19:
      return ask(Call::thread_set_affinity, any(w, h.threads), {w.chance(3) ? ~u64{0} : 1 + w.random(15)});
    case 20:
    case 21:
      return ask(Call::thread_set_context, any(w, h.threads), {w.chance(3) ? 0 : any(w, h.contexts).value});
    case 22:
      return w.chance(2)
                 ? ask(Call::context_configure, any(w, h.contexts),
                       {kNormalLevel + w.random(4), w.chance(3) ? u64{0} : 50'000, w.chance(3) ? u64{0} : 200'000})
                 : ask(Call::context_notify, any(w, h.contexts), {any(w, h.notifications).value, 2});
    case 23:
      return w.chance(2) ? ask(Call::word_wait, kNoCapability, {h.word, 0, soon(w)})
                         : ask(Call::word_wake, kNoCapability, {h.word, 1});
    case 24:
      return ask(Call::group_set_cpu, h.group,
                 {w.chance(3) ? u64{0} : 50'000, w.chance(3) ? u64{0} : 200'000, 1 + w.random(500)});
    case 25:
      if (own.context == kNoCapability) {
        own.asked = &own.context;
        return ask(Call::context_create, h.group);
      }
      return ask(Call::thread_set_context, any(w, h.threads), {own.context.value});
    case 26:
      if (own.context == kNoCapability) return compute();
      return w.chance(2) ? ask(Call::context_configure, own.context, {kNormalLevel + w.random(4), 50'000, 200'000})
                         : ask(Call::cap_delete, std::exchange(own.context, kNoCapability));
    case 27:
      if (own.thread == kNoCapability) {
        own.asked = &own.thread;
        return ask(Call::thread_create, h.process, {kNormalLevel});
      }
      return ask(Call::thread_set_context, own.thread, {(w.chance(2) ? own.context : any(w, h.contexts)).value});
    case 28:
      if (own.thread == kNoCapability) return compute();
      return w.chance(2) ? ask(Call::cap_delete, std::exchange(own.thread, kNoCapability))
                         : ask(Call::thread_start, own.thread, {0x50'0000, 0x7000'0000, 0, 0});
    case 29:
      if (own.derived != kNoCapability) return ask(Call::cap_delete, std::exchange(own.derived, kNoCapability));
      return ask(Call::cap_revoke, any(w, w.chance(2) ? h.ports : h.notifications));
    case 33:
    case 34:
      return ask(Call::forward, any(w, h.ports), {1}, one_word);
    case 30:
      return ask(Call::wait_set_add, any(w, h.sets),
                 {any(w, w.chance(3)   ? h.replies
                         : w.chance(2) ? h.ports
                                       : h.notifications)
                      .value,
                  w.random(4)});
    case 31:
      return w.chance(2) ? ask(Call::wait_set_remove, any(w, h.sets), {w.random(4)})
                         : ask(Call::wait_set_wait, any(w, h.sets), {soon(w)});
    case 32:
      return w.chance(2) ? ask(Call::send_batch, any(w, h.ports), {2, 8}) : ask(Call::receive_batch, any(w, h.ports));
    default:
      return w.chance(3) ? fault()
                         : ask(Call::process_set_handler, h.process, {w.chance(3) ? 0 : any(w, h.ports).value});
  }
}

}  // namespace

std::function<void()> mix(World& w) {
  ResourceGroup& root = w.machine().root_group();
  auto group = MUST(ResourceGroup::create(w.now_on(), root, GroupName{"mix"}));
  Process* processes[] = {&w.process(), &w.process(*group)};
  Process& keeper = w.process();
  Hands hands[2];
  const auto share = [&](auto& object, std::vector<CapIndex> Hands::* list, u64 scope = 0) {
    for (u32 i = 0; i < 2; ++i) (hands[i].*list).push_back(w.give(*processes[i], object, scope));
  };
  for (u32 i = 0; i < 2; ++i) {
    hands[i].group = w.give(*processes[i], *group);
    auto port = w.make_port(2);
    share(*port, &Hands::ports, 5);
    auto notification = w.make<Notification>();
    share(*notification, &Hands::notifications);
    auto reply = w.make<Reply>();
    share(*reply, &Hands::replies);
    auto set = w.make<WaitSet>();
    share(*set, &Hands::sets);
    auto context = MUST(Reservation::create(w.cpu(u32(w.random(w.cpus()))), root));
    share(*context, &Hands::contexts);
    auto memory = MUST(MemoryObject::create_anonymous(w.now_on(), root, 1));
    AddressSpace& space = *processes[i]->space();
    const VirtAddr at = MUST(space.map(
        w.now_on(), {.memory = *memory, .pages = 1, .prot = Protection::read_write, .max = Protection::read_write}));
    MUST(space.populate(w.now_on(), at, kPageSize));
    hands[i].word = at.value;
    hands[i].process = w.give(*processes[i], *processes[i]);
    CapSlot& signals = *MUST(processes[i]->caps.find(hands[i].notifications[0]));
    auto timer = MUST(Timer::create(w.now_on(), root,
                                    {static_cast<Notification&>(*signals.object), signals.node(), root, u64{1} << 9}));
    share(*timer, &Hands::timers);
  }
  std::vector<RefPtr<Thread>> threads;
  std::vector<CapIndex> resume;
  std::vector<std::shared_ptr<Hands>> known = {std::make_shared<Hands>(), std::make_shared<Hands>()};
  for (u32 i = 0; i < kThreads; ++i) {
    Thread& t =
        w.thread(*processes[i % 2], kNormalLevel + u32(w.random(3)),
                 [&w, h = known[i % 2], own = std::make_shared<Own>()](Thread& self, const Answer& last) -> Act {
                   if (own->asked != nullptr && last.status == Status::ok) *own->asked = CapIndex(last.word[0]);
                   own->asked = nullptr;
                   if (own->left-- == 0) return leave();
                   if (own->derived == kNoCapability && w.chance(8)) {
                     own->asked = &own->derived;
                     return ask(Call::cap_derive, any(w, h->ports), {0xff, 0});
                   }
                   return something(w, self, *h, *own);
                 });
    threads.emplace_back(t);
    resume.push_back(w.give(keeper, t));
    share(t, &Hands::threads);
  }
  for (u32 i = 0; i < 2; ++i) *known[i] = hands[i];
  // Suspended threads are resumed until all have come to their end. A process is killed half-way now and then, and when
  // somebody waits for the answer to a fault that nobody serves.
  auto bell = w.make<Notification>();
  const CapIndex never = w.give(keeper, *bell);
  const CapIndex victims[] = {w.give(keeper, *processes[0]), w.give(keeper, *processes[1])};
  struct Keeper {
    usize next = 0;
    u32 round = 0;
    u32 kill_in;
  };
  w.thread(keeper, kLevels - 1,
           [&w, threads, resume, never, victims, s = Keeper{.kill_in = u32(w.random(20))}](
               Thread&, const Answer&) mutable -> Act {
             bool left = false;
             for (const auto& t : threads) left = left || t->status() != ThreadStatus::dead;
             if (!left) {
               threads.clear();
               return leave();
             }
             if (s.next < resume.size()) return ask(Call::thread_resume, resume[s.next++]);
             s.next = 0;
             ++s.round;
             if (s.round == s.kill_in || s.round > 30) return ask(Call::process_kill, victims[s.round % 2], {3});
             return ask(Call::notification_wait, never, {w.now() + 20'000});
           });
  return [] {};
}

}  // namespace keel::simulator
