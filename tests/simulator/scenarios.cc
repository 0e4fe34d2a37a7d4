// What the simulated machines do. Each scenario keeps an account of what user mode can see, and says at the end what
// must be so.
#include "tests/simulator/scenarios.h"
#include "kernel/mm/machine_rig_test.h"

namespace keel::simulator {
namespace {

// A server that answers each call with the word that came, plus one. Sometimes it takes the call into a Reply object
// first, and makes a call of its own in between.
Program server(World& w, CapIndex port, CapIndex reply, CapIndex other) {
  struct State {
    enum { start, got, taken, busy } at = start;
    u64 word = 0;
  };
  auto state = std::make_shared<State>();
  return [=, &w](Thread&, const Answer& last) -> Act {
    State& s = *state;
    const auto receive = [&] {
      s.at = State::got;
      return ask(Call::receive, port);
    };
    switch (s.at) {
      case State::start:
        return receive();
      case State::got:
        if (last.status == Status::revoked || last.status == Status::bad_capability) return leave();
        if (last.status != Status::ok) return receive();
        if (last.descriptor.kind() != u64(MessageKind::call)) return receive();
        s.word = last.word[0];
        if (reply != kNoCapability && w.chance(4)) {
          s.at = State::taken;
          return ask(Call::reply_take, reply);
        }
        if (w.chance(4)) {
          s.at = State::busy;
          return ask(Call::notification_signal, other, {1});
        }
        s.at = State::got;
        return ask(Call::reply_receive, port, {s.word + 1}, Descriptor::make(1));
      case State::taken:
        if (last.status != Status::ok) return receive();  // the caller has gone
        s.at = State::start;
        return ask(Call::reply_send, reply, {s.word + 1}, Descriptor::make(1));
      case State::busy:
        s.at = State::got;
        return ask(Call::reply_receive, port, {s.word + 1}, Descriptor::make(1));
    }
    return leave();
  };
}

struct Score {
  u64 calls = 0;
  u64 answers = 0;
  u64 failures = 0;
  bool done = false;
};

// Makes `count` calls, some with a deadline; each is answered once, with the word that belongs to it.
Program client(World& w, CapIndex port, u32 count, std::shared_ptr<Score> score) {
  auto left = std::make_shared<u32>(count);
  auto sent = std::make_shared<u64>(0);
  return [=, &w](Thread& self, const Answer& last) -> Act {
    if (*sent != 0) {
      switch (last.status) {
        case Status::ok:
          if (last.word[0] != *sent + 1) {
            w.say("thread %llu asked %llx and got %llx", self.id(), *sent, last.word[0]);
            w.fail("an answer to another call");
          }
          ++score->answers;
          break;
        case Status::timed_out:
        case Status::cancelled:
        case Status::peer_died:
        case Status::revoked:
        case Status::bad_capability:
          ++score->failures;
          break;
        default:
          w.fail(status_name(last.status));
      }
      *sent = 0;
    }
    if (*left == 0) {
      score->done = true;
      return leave();
    }
    --*left;
    *sent = self.id() * 1000 + *left * 2 + 2;
    ++score->calls;
    u64 d = Descriptor::make(1);
    if (w.chance(3)) {
      d |= Descriptor::kDeadline;
      self.message_page->deadline = w.now() + w.random(4000);
    }
    return ask(Call::call, port, {*sent}, d);
  };
}

// Calls between any CPUs; some are cancelled or time out; servers may be killed, and a successor serves the rest.
std::function<void()> calls(World& w) {
  Process& servers = w.process();
  Process& clients = w.process();
  auto port = w.make_port(4);
  auto reply = w.make<Reply>();
  auto bell = w.make<Notification>();
  const CapIndex receive = w.give(servers, *port);
  const CapIndex reply_cap = w.give(servers, *reply);
  const CapIndex bell_cap = w.give(servers, *bell);
  const CapIndex target = w.copy(servers, receive, clients, rights::port::call, 7);
  std::vector<std::shared_ptr<Score>> scores;
  std::vector<CapIndex> victims;
  const u32 count = u32(1 + w.random(3));
  for (u32 i = 0; i < 1 + w.random(2); ++i) {
    Thread& t = w.thread(servers, kNormalLevel + u32(w.random(3)),
                         server(w, receive, i == 0 ? reply_cap : kNoCapability, bell_cap), w.perhaps_pinned());
    victims.push_back(w.give(servers, t));
  }
  for (u32 i = 0; i < count; ++i) {
    auto score = std::make_shared<Score>();
    scores.push_back(score);
    Thread& t = w.thread(clients, kNormalLevel + u32(w.random(3)), client(w, target, 3, score));
    victims.push_back(w.give(servers, t));
  }
  // Somebody who disturbs: cancels, moves, suspends and resumes.
  w.thread(servers, kNormalLevel + 1,
           [&w, victims, left = u32(w.random(6)), stopped = kNoCapability](Thread&, const Answer&) mutable -> Act {
             if (stopped != kNoCapability) return ask(Call::thread_resume, std::exchange(stopped, kNoCapability));
             if (left == 0) return leave();
             --left;
             const CapIndex victim = victims[w.random(victims.size())];
             if (w.chance(3)) return ask(Call::thread_set_affinity, victim, {1 + w.random(15)});
             if (w.chance(2)) return ask(Call::thread_cancel, victim);
             stopped = victim;
             return ask(Call::thread_suspend, victim);
           });
  return [&w, scores] {
    for (const auto& s : scores) {
      if (!s->done || s->answers + s->failures != s->calls) w.fail("a call was never answered");
    }
  };
}

// The same, with processes that are killed at any moment: whoever is left gets an error or waits for a successor.
std::function<void()> deaths(World& w) {
  Process& keeper = w.process();
  Process& servers = w.process();
  Process& clients = w.process();
  auto port = w.make_port(4);
  auto reply = w.make<Reply>();
  auto bell = w.make<Notification>();
  const CapIndex root = w.give(keeper, *port);
  const CapIndex receive = w.copy(keeper, root, servers, 0xff);
  const CapIndex reply_cap = w.give(servers, *reply);
  const CapIndex bell_cap = w.give(servers, *bell);
  const CapIndex target = w.copy(keeper, root, clients, rights::port::call, 7);
  const CapIndex kill[2] = {w.give(keeper, servers), w.give(keeper, clients)};
  auto score = std::make_shared<Score>();
  for (u32 i = 0; i < 2; ++i)
    w.thread(servers, kNormalLevel, server(w, receive, i == 0 ? reply_cap : kNoCapability, bell_cap),
             w.perhaps_pinned());
  for (u32 i = 0; i < 2; ++i) w.thread(clients, kNormalLevel, client(w, target, 3, score));
  auto dead = std::make_shared<u32>(0);
  w.thread(keeper, kNormalLevel + u32(w.random(2)),
           [&w, kill, dead, delay = w.random(12), state = 0, which = w.random(2)](Thread&,
                                                                                  const Answer& last) mutable -> Act {
             if (delay > 0) {
               --delay;
               return ask(Call::yield);
             }
             switch (state++) {
               case 0:
                 return ask(Call::process_kill, kill[which], {5});
               case 1:
                 return ask(Call::process_wait, kill[which], {~u64{0}});
               default:
                 if (last.status != Status::ok || (last.word[0] != 5 && last.word[0] != 0))
                   w.fail("the end of a process was not seen");
                 ++*dead;
                 return leave();
             }
           });
  return [&w, dead] {
    if (*dead != 1) w.fail("the end of a process was never seen");
  };
}

// Calls that a front hands on to other servers, anywhere; clients give up or are cancelled; in some worlds a process
// is killed. Each call is answered once; without a death none is left without an answer.
std::function<void()> forwards(World& w) {
  Process& keeper = w.process();
  Process& fronts = w.process();
  Process& backs = w.process();
  Process& clients = w.process();
  auto front_port = w.make_port(0);
  auto back_port = w.make_port(4);
  auto reply = w.make<Reply>();
  auto bell = w.make<Notification>();
  const CapIndex front_root = w.give(keeper, *front_port);
  const CapIndex back_root = w.give(keeper, *back_port);
  const CapIndex at_front = w.copy(keeper, front_root, fronts, 0xff);
  const CapIndex onward = w.copy(keeper, back_root, fronts, rights::port::call, 9);
  const CapIndex at_back = w.copy(keeper, back_root, backs, 0xff);
  const CapIndex target = w.copy(keeper, front_root, clients, rights::port::call, 7);
  const CapIndex reply_cap = w.give(backs, *reply);
  const CapIndex bell_cap = w.give(backs, *bell);
  const CapIndex kill[3] = {w.give(keeper, fronts), w.give(keeper, backs), w.give(keeper, clients)};
  const bool deadly = w.chance(2);
  for (u32 i = 0; i < 1 + w.random(2); ++i) {
    w.thread(
        fronts, kNormalLevel,
        [&w, at_front, onward, deadly, word = u64{0}, forwarded = false](Thread&, const Answer& last) mutable -> Act {
          const auto receive = [&] { return ask(Call::receive, at_front); };
          if (last.first) return receive();
          if (std::exchange(forwarded, false)) {
            const bool was_cancelled = last.status == Status::bad_state;
            if (last.status == Status::ok || was_cancelled || (deadly && last.status == Status::peer_died))
              return receive();
            w.fail("a call could not be forwarded");
          }
          if (last.status == Status::revoked || last.status == Status::bad_capability) return leave();
          if (last.status != Status::ok) return receive();
          word = last.word[0];
          if (w.chance(4)) return ask(Call::reply_receive, at_front, {word + 1}, Descriptor::make(1));
          forwarded = true;
          return ask(Call::forward, onward, {word}, Descriptor::make(1));
        });
  }
  for (u32 i = 0; i < 1 + w.random(2); ++i) {
    w.thread(backs, kNormalLevel + u32(w.random(2)), server(w, at_back, i == 0 ? reply_cap : kNoCapability, bell_cap),
             w.perhaps_pinned());
  }
  std::vector<std::shared_ptr<Score>> scores;
  std::vector<CapIndex> victims;
  for (u32 i = 0; i < 2; ++i) {
    scores.push_back(std::make_shared<Score>());
    Thread& t = w.thread(clients, kNormalLevel + u32(w.random(3)), client(w, target, 4, scores.back()));
    victims.push_back(w.give(keeper, t));
  }
  w.thread(
      keeper, kNormalLevel + 1,
      [&w, kill, victims, deadly, left = u32(w.random(8)), last_act = false](Thread&, const Answer&) mutable -> Act {
        if (left > 0) {
          --left;
          return w.chance(2) ? ask(Call::yield) : ask(Call::thread_cancel, victims[w.random(victims.size())]);
        }
        if (!deadly || std::exchange(last_act, true)) return leave();
        return ask(Call::process_kill, kill[w.random(3)], {5});
      });
  return [&w, scores, deadly] {
    for (const auto& s : scores) {
      if (!deadly && (!s->done || s->answers + s->failures != s->calls)) w.fail("a call was never answered");
    }
  };
}

// Signals from several CPUs: every bit arrives, whoever waits.
std::function<void()> signals(World& w) {
  Process& p = w.process();
  auto n = w.make<Notification>();
  const CapIndex bell = w.give(p, *n);
  auto got = std::make_shared<u64>(0);
  const u32 senders = u32(1 + w.random(3));
  const u64 wanted = (u64{1} << senders * 4) - 1;
  for (u32 i = 0; i < senders; ++i) {
    w.thread(p, kNormalLevel, [bell, i, left = 4u](Thread&, const Answer&) mutable -> Act {
      if (left == 0) return leave();
      --left;
      return ask(Call::notification_signal, bell, {u64{1} << (i * 4 + left)});
    });
  }
  for (u32 i = 0; i < 1 + w.random(2); ++i) {
    w.thread(p, kNormalLevel + u32(w.random(2)), [&w, bell, got, wanted](Thread&, const Answer& last) -> Act {
      if (!last.first && last.status == Status::ok) {
        if ((*got & last.word[0]) != 0) w.fail("a bit came twice");
        *got |= last.word[0];
      }
      if (*got == wanted) return leave();
      return ask(Call::notification_wait, bell, {w.chance(4) ? w.now() + w.random(2000) : ~u64{0}});
    });
  }
  return [&w, got, wanted] {
    if (*got != wanted) w.fail("a signal was lost");
  };
}

// One or two waiters live on a wait set of notifications and a port; who signals and sends is anywhere, and somebody
// takes members out and puts them back. Nothing that came is overlooked, and a member that ends is told of once.
std::function<void()> sets(World& w) {
  Process& p = w.process();
  Process& others = w.process();
  auto set_object = w.make<WaitSet>();
  auto port_object = w.make_port(2);
  const CapIndex set = w.give(p, *set_object);
  const CapIndex port = w.give(p, *port_object);
  const CapIndex target = w.copy(p, port, others, rights::port::send);
  constexpr u64 kBells = 2;
  constexpr u64 kPortKey = kBells;
  constexpr u64 kMortal = kBells + 1;
  struct Score {
    u64 bits[kBells] = {};
    u32 messages = 0;
    u32 sent = 0;
    u32 ends = 0;
  };
  auto score = std::make_shared<Score>();
  std::vector<CapIndex> bells, remote;
  for (u64 i = 0; i < kBells; ++i) {
    auto bell = w.make<Notification>();
    bells.push_back(w.give(p, *bell));
    remote.push_back(w.copy(p, bells.back(), others, rights::notification::signal));
  }
  auto mortal_object = w.make<Notification>();
  const CapIndex mortal = w.give(p, *mortal_object);
  const u32 senders = u32(1 + w.random(3));
  constexpr u32 kEach = 4;
  const u64 wanted = (u64{1} << senders * kEach) - 1;
  for (u32 i = 0; i < senders; ++i) {
    w.thread(others, kNormalLevel, [remote, target, score, i, step = 0u](Thread&, const Answer& last) mutable -> Act {
      if (step > 0 && step % 3 == 0 && last.status == Status::ok) ++score->sent;
      if (step == kEach * 3) return leave();
      const u64 bit = u64{1} << (i * kEach + step / 3);
      const u32 kind = step++ % 3;
      return kind < kBells ? ask(Call::notification_signal, remote[kind], {bit})
                           : ask(Call::send, target, {bit}, Descriptor::make(1));
    });
  }
  // Members come, go and come back; one ends.
  w.thread(p, kNormalLevel + u32(w.random(2)),
           [&w, set, port, bells, mortal, next = u64{0}, toggles = u32(w.random(4)), out = false, key = u64{0}](
               Thread&, const Answer& last) mutable -> Act {
             const auto add = [&](u64 k) {
               return ask(Call::wait_set_add, set, {(k < kBells ? bells[k] : k == kPortKey ? port : mortal).value, k});
             };
             if (!last.first && last.status != Status::ok) w.fail("a member could not be added or removed");
             if (next <= kMortal) return add(next++);
             if (next++ == kMortal + 1) return ask(Call::cap_delete, mortal);
             if (std::exchange(out, false)) return add(key);
             if (toggles-- == 0) return leave();
             key = w.random(kBells + 1);
             out = true;
             return ask(Call::wait_set_remove, set, {key});
           });
  for (u32 i = 0; i < 1 + w.random(2); ++i) {
    auto key = std::make_shared<u64>(~u64{0});
    w.thread(p, kNormalLevel + u32(w.random(2)), [=, &w](Thread& self, const Answer& last) -> Act {
      if (*key == ~u64{0} && !last.first && last.status == Status::ok) {  // told of a member
        if (last.word[1] != 0) {
          if (last.word[0] != kMortal) w.fail("a member that lives was told to be gone");
          ++score->ends;
        } else {
          *key = last.word[0];
          if (*key < kBells) return ask(Call::notification_wait, bells[*key], {0});
          self.message_page->deadline = 0;
          return ask(Call::receive, port, {}, Descriptor::kDeadline);
        }
      } else if (*key != ~u64{0}) {
        if (last.status == Status::ok) {
          if (*key == kPortKey) {
            ++score->messages;
          } else {
            if ((score->bits[*key] & last.word[0]) != 0) w.fail("a bit came twice");
            score->bits[*key] |= last.word[0];
          }
        }
        *key = ~u64{0};
      }
      return ask(Call::wait_set_wait, set, {w.chance(4) ? w.now() + w.random(2000) : ~u64{0}});
    });
  }
  return [&w, score, wanted] {
    for (u64 bits : score->bits) {
      if (bits != wanted) w.fail("a signal was overlooked");
    }
    if (score->messages != score->sent) w.fail("a message was overlooked");
    if (score->ends != 1) w.fail("the end of a member was not told once");
  };
}

// word_wait and word_wake as a lock uses them. With `cloned`, while the memory is cloned, so that the word changes its
// frame: a thread finds it through the page tables, or faults. Nothing comes between finding and using it, as a flush
// waits for this CPU; the simulator has no other TLB.
std::function<void()> lock_of_words(World& w, bool cloned) {
  Process& p = w.process();
  auto memory = MUST(MemoryObject::create_anonymous(w.now_on(), w.machine().root_group(), 9));
  const VirtAddr at = MUST(p.space()->map(
      w.now_on(), {.memory = *memory, .pages = 9, .prot = Protection::read_write, .max = Protection::read_write}));
  MUST(p.space()->populate(w.now_on(), at, kPageSize));
  const auto find_word = [&w, &p, at]() -> Atomic<u32>* {
    const auto mapped = p.space()->lookup(w.now_on(), at);
    if (!mapped || !allows(mapped->flags.protection, Access::write)) return nullptr;
    return reinterpret_cast<Atomic<u32>*>(mapped->address.value);
  };
  auto inside = std::make_shared<u32>(0);
  auto entered = std::make_shared<u32>(0);
  const u32 count = u32(2 + w.random(3)), rounds = cloned ? 12 : 3;
  for (u32 i = 0; i < count; ++i) {
    // 0 free, 1 taken, 2 taken and somebody may wait (Drepper, Futexes Are Tricky).
    struct State {
      enum { want, waited, in, out } at = want;
      u32 left;
      bool contended = false;
    };
    auto state = std::make_shared<State>(State{.left = rounds});
    w.thread(p, kNormalLevel, [=, &w](Thread&, const Answer&) -> Act {
      State& s = *state;
      Atomic<u32>* const word = s.at == State::out ? nullptr : find_word();
      if (word == nullptr && s.at != State::out) return fault(at.value);
      for (;;) {
        switch (s.at) {
          case State::want:
          case State::waited: {
            u32 found = 0;
            const u32 mine = s.at == State::waited ? 2 : 1;
            if (word->compare_exchange(&found, mine, kSeqCst)) {
              s.at = State::in;
              if (++*inside != 1) w.fail("two are inside");
              ++*entered;
              return compute();
            }
            if (found == 1) {
              u32 one = 1;
              if (!word->compare_exchange(&one, 2, kSeqCst) && one == 0) continue;
            }
            s.at = State::waited;
            return ask(Call::word_wait, kNoCapability, {at.value, 2, w.chance(5) ? w.now() + w.random(3000) : ~u64{0}});
          }
          case State::in: {
            --*inside;
            const u32 was = word->exchange(0, kSeqCst);
            s.at = --s.left == 0 ? State::out : State::want;
            if (was == 2) return ask(Call::word_wake, kNoCapability, {at.value, 1});
            continue;
          }
          case State::out:
            return leave();
        }
      }
    });
  }
  if (cloned) {
    // What a clone holds does not change any more.
    struct Clone {
      CapIndex capability;
      u32 word = 0;
    };
    const CapIndex original = w.give(p, *memory), group = w.give(p, w.machine().root_group());
    const auto word_of = [&w, &p](CapIndex clone) {
      auto& object = static_cast<MemoryObject&>(*MUST(p.caps.find(clone))->object);
      return reinterpret_cast<Atomic<u32>*>(MUST(object.existing_page(w.now_on(), 0)).value)->load(kSeqCst);
    };
    auto clones = std::make_shared<std::vector<Clone>>();
    w.thread(p, kNormalLevel + 1, [=, &w, left = 40, asked = false](Thread&, const Answer& last) mutable -> Act {
      if (std::exchange(asked, false) && last.status == Status::ok) {
        const CapIndex made(last.word[0]);
        clones->push_back({made, word_of(made)});
      }
      for (const Clone& clone : *clones) {
        if (word_of(clone.capability) != clone.word) w.fail("a clone has changed");
      }
      if (left-- == 0) return leave();
      if (w.chance(3)) return compute(w.random(500));
      asked = clones->empty() || w.chance(2);
      if (asked) return ask(Call::memory_clone, original, {group.value});
      const CapIndex gone = clones->back().capability;
      clones->pop_back();
      return ask(Call::cap_delete, gone);
    });
  }
  w.keep([m = std::move(memory)]() mutable { m.reset(); });
  return [&w, entered, all = count * rounds] {
    if (*entered != all) w.fail("somebody never got the lock");
  };
}
std::function<void()> words(World& w) { return lock_of_words(w, false); }
std::function<void()> clones(World& w) { return lock_of_words(w, true); }

// Derivation, also for a time, binding, transfer by grant, deletion and use against two revocations.
std::function<void()> revokes(World& w) {
  Process& a = w.process();
  Process& b = w.process();
  auto n = w.make<Notification>();
  const CapIndex root = w.give(a, *n);
  const CapIndex to_b = w.give(a, b);
  const CapIndex child = w.copy(a, root, b, 0xff);
  const CapIndex watched = w.give(b, a);
  auto made = std::make_shared<std::vector<CapIndex>>();
  auto revoked = std::make_shared<bool>(false);
  auto derived_after = std::make_shared<bool>(false);
  for (u32 i = 0; i < 2; ++i) {
    w.thread(b, kNormalLevel,
             [&w, made, child, watched, revoked, left = 6u, mine = kNoCapability, asked = 0](
                 Thread&, const Answer& last) mutable -> Act {
               if (asked == 1 && last.status == Status::ok) {
                 mine = CapIndex(last.word[0]);
                 made->push_back(mine);
               }
               if (asked == 2 && last.status == Status::ok && *revoked) w.fail("a revoked capability was used");
               asked = 0;
               if (left-- == 0) return leave();
               switch (w.random(6)) {
                 case 0:
                 case 1:
                   asked = 1;
                   return ask(Call::cap_derive, w.chance(2) && mine != kNoCapability ? mine : child, {0xff, 0});
                 case 4:
                   asked = 1;
                   return ask(Call::cap_derive_until, child, {0xff, 0, w.now() + 1 + w.random(20'000)});
                 case 5:
                   return ask(Call::process_watch, watched, {(mine != kNoCapability ? mine : child).value, 1});
                 case 2:
                   if (mine == kNoCapability) return compute();
                   return ask(Call::cap_delete, std::exchange(mine, kNoCapability));
                 default:
                   // A use that begins when it is revoked must fail.
                   if (*revoked) asked = 2;
                   return ask(Call::notification_signal, mine != kNoCapability ? mine : child, {1});
               }
             });
  }
  // Revokes what b derived, or what it has.
  w.thread(b, kNormalLevel, [&w, child, state = 0](Thread&, const Answer&) mutable -> Act {
    if (state++ == 0 && w.chance(2)) return ask(Call::cap_revoke, child);
    return leave();
  });
  w.thread(a, kNormalLevel, [&w, root, to_b, revoked, state = 0](Thread&, const Answer& last) mutable -> Act {
    switch (state++) {
      case 0:
        return ask(Call::cap_grant, to_b, {root.value, 0xff, 0});
      case 1:
        return ask(Call::cap_revoke, root);
      case 2:
        if (last.status != Status::ok) w.fail("revoke failed");
        *revoked = true;
        return ask(Call::process_capability, to_b, {0});
      default:
        if (last.status != Status::ok) return leave();  // that were all, or the process has ended
        if (ObjectKind(last.word[2] & 0xff) == ObjectKind::notification) w.fail("a capability outlived its revocation");
        return ask(Call::process_capability, to_b, {last.word[0]});
    }
  });
  return [&w, revoked] {
    if (!*revoked) w.fail("a revocation never ended");
  };
}

// Processes are made, run on any CPU, and end in three ways.
std::function<void()> churn(World& w) {
  Process& maker = w.process();
  const CapIndex group = w.give(maker, w.machine().root_group());
  auto ended = std::make_shared<u32>(0);
  const u32 makers = 2;
  for (u32 i = 0; i < makers; ++i) {
    struct State {
      u32 step = 0;
      u32 left = 3;
      CapIndex process, space, thread;
    };
    auto s = std::make_shared<State>();
    w.thread(maker, kNormalLevel, [&w, &maker, s, group, ended](Thread&, const Answer& last) -> Act {
      switch (s->step++) {
        case 0:
          if (s->left-- == 0) return leave();
          return ask(Call::process_create, group, {1, 2, 3});
        case 1:
          if (last.status != Status::ok) w.fail("process_create failed");
          s->process = CapIndex(last.word[0]);
          s->space = CapIndex(last.word[1]);
          return ask(Call::thread_create, s->process, {kNormalLevel});
        case 2: {
          if (last.status != Status::ok) w.fail("thread_create failed");
          s->thread = CapIndex(last.word[0]);
          auto* t = static_cast<Thread*>(MUST(maker.caps.find(s->thread))->object);
          w.give_program(*t, [left = w.random(3)](Thread&, const Answer&) mutable -> Act {
            return left-- == 0 ? leave() : ask(Call::yield);
          });
          if (w.chance(4)) {  // never started: it ends with its last capability
            s->step = 5;
            return ask(Call::cap_delete, s->thread);
          }
          return ask(Call::thread_start, s->thread, {0x50'0000, 0x7000'0000, 0, 0});
        }
        case 3:
          if (w.chance(2)) return ask(Call::process_kill, s->process, {9});
          return compute();
        case 4:
          return ask(Call::process_wait, s->process, {~u64{0}});
        case 5:
          if (last.status != Status::ok) w.fail("process_wait failed");
          return ask(Call::cap_delete, s->thread);
        case 6:
          return ask(Call::cap_delete, s->space);
        case 7:
          return ask(Call::cap_delete, s->process);
        default:
          ++*ended;
          s->step = 0;
          return compute();
      }
    });
  }
  return [&w, ended] {
    if (*ended != makers * 3) w.fail("somebody did not get to the end");
  };
}

}  // namespace

const Scenario kScenarios[] = {{"calls", &calls}, {"deaths", &deaths},   {"forwards", &forwards}, {"signals", &signals},
                               {"sets", &sets},   {"words", &words},     {"revokes", &revokes},   {"churn", &churn},
                               {"mix", &mix},     {"balance", &balance}, {"clones", &clones}};
const u32 kScenarioCount = sizeof(kScenarios) / sizeof(kScenarios[0]);

}  // namespace keel::simulator
