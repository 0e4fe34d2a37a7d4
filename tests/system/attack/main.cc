// Attacks on capabilities: what a process may try with the indices, messages and races that are at its hands, and must
// not succeed with. test=N: how many guesses.
#include <cstring>

#include "tests/system/report.h"
#include "user/runtime/clock.h"
#include "user/runtime/syscall.h"
#include "user/runtime/thread.h"

using namespace keel;

namespace {

u32 g_number = 0;
u32 g_failures = 0;

using report::say;
[[noreturn]] void end() { report::end(g_failures == 0); }
void check(bool good, std::string_view what) {
  char line[150];
  say(format_to(line, "{} {} - attack: {}", good ? "ok" : "not ok", ++g_number, what));
  g_failures += !good;
}
template <class T>
T need(Result<T> result, const char* what) {
  if (result.has_value()) return *std::move(result);
  check(false, what);
  end();
}

u64 g_state = 1;
u64 next() {
  u64 z = (g_state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// An index that was never given out names nothing.
void guess(u64 count) {
  u64 found = 0;
  const auto own = need(sys::process_info(self().process), "process_info");
  for (u64 i = 0; i < count; ++i) {
    // Half of the guesses have the shape of an index: small generation, small number.
    const u64 r = next();
    u64 index = r;
    if (i % 2 == 0) index = (r >> 8 & 0xff) << 32 | (r >> 16 & 0xfff) << 5 | (i % 16 == 0 ? r >> 40 & 0x1f : 0);
    const auto info = sys::cap_info(CapIndex(index));
    if (!info.has_value()) continue;
    // Only those that are really ours: the kernel lists them.
    bool ours = false;
    for (u64 cursor = index >> 5 & 0xffff; !ours;) {
      const auto c = sys::process_capability(self().process, cursor);
      ours = c.has_value() && c->index == index;
      break;
    }
    if (!ours) ++found;
  }
  char line[100];
  say(format_to(line, "# {} guesses in a space of {} capabilities", count, own.capabilities));
  check(found == 0, "no guessed index names anything");
}

void stale() {
  const CapIndex first = need(sys::notification_create(self().group), "notification");
  check(sys::cap_delete(first).has_value(), "a capability is deleted");
  bool used = false;
  for (u32 i = 0; i < 2000; ++i) {
    const CapIndex again = need(sys::notification_create(self().group), "notification");
    used = used || sys::notification_signal(first, 1).has_value() || again == first;
    static_cast<void>(sys::cap_delete(again));
    used = used || sys::notification_signal(again, 1).has_value();
  }
  check(!used && sys::notification_signal(first, 1).status() == Status::bad_capability,
        "a stale index names nothing, ever again");
}

void widen() {
  const CapIndex port = need(sys::port_create(self().group, 4), "port");
  const CapIndex weak = need(sys::cap_derive(port, rights::derive | rights::port::call, 42), "derive");
  check(sys::cap_derive(weak, 0xffff, 0).status() == Status::missing_right,
        "a derivation has no more rights than its parent");
  check(!sys::cap_derive(weak, rights::port::call, 43).has_value(), "a badge is not changed without the right to it");
  Result<CapIndex> same = sys::cap_derive(weak, rights::port::call, 0);
  check(same.has_value() && sys::cap_info(*same)->scope == 42, "a badge is inherited");
  check(sys::cap_revoke(weak).status() == Status::missing_right, "revocation needs its right");
  Message message;
  message.deadline = kPoll;
  check(ipc::receive(weak, message) == Status::missing_right, "a client does not receive");
  const CapIndex memory = need(sys::memory_create(self().group, 8, 0), "memory");
  const CapIndex part =
      need(sys::cap_derive(memory, rights::derive | rights::memory::read, u64{2} | u64{2} << 32), "derive");
  check(!sys::cap_derive(part, rights::memory::read, u64{0} | u64{8} << 32).has_value(), "a range does not grow");
  check(!sys::space_map(self().space, part.value, 0, 1, 3, 0).has_value(),
        "what may be read is not mapped to be written");
  check(!sys::space_map(self().space, part.value, 2, 1, 1, 0).has_value(), "what lies behind a range is not mapped");
  check(sys::process_kill(port, 0).status() == Status::wrong_kind, "a port is no process");
}

// Two threads: one gives a capability up and makes another in the same slot, one uses the index all the time. What is
// used must be the one, with its own scope, or nothing.
struct Race {
  Atomic<u64> index{0};
  Atomic<u32> stop{0};
  Atomic<u64> uses{0};
  Atomic<u64> wrong{0};
};

void race_reuse(u64 count) {
  static Race race;
  const CapIndex first = need(sys::notification_create(self().group), "notification");
  const CapIndex second = need(sys::notification_create(self().group), "notification");
  Thread user = need(Thread::create(
                         [](void*) {
                           while (race.stop.load(kRelaxed) == 0) {
                             const u64 index = race.index.load(kRelaxed);
                             const auto info = sys::cap_info(CapIndex(index));
                             race.uses.fetch_add(1, kRelaxed);
                             if (!info.has_value()) continue;
                             // Bit 32 of the index tells which one was put there: scope 1 or 2.
                             const u64 scope = info->scope;
                             if (scope != 1 && scope != 2) race.wrong.fetch_add(1, kRelaxed);
                             if (scope == 1 && sys::notification_signal(CapIndex(index), 2).has_value())
                               race.wrong.fetch_add(1, kRelaxed);
                           }
                         },
                         nullptr),
                     "thread");
  for (u64 i = 0; i < count; ++i) {
    const bool one = i % 2 == 0;
    const CapIndex made =
        need(sys::cap_derive(one ? first : second, rights::notification::signal, one ? 1 : 2), "derive");
    race.index.store(made.value, kRelaxed);
    static_cast<void>(sys::cap_delete(made));
  }
  race.stop.store(1, kRelaxed);
  static_cast<void>(user.join(after(20 * kSecond)));
  char line[100];
  say(format_to(line, "# {} uses during {} reuses of a slot", race.uses.load(kRelaxed), count));
  check(race.wrong.load(kRelaxed) == 0, "a slot that is reused under its reader shows one capability or the other");
}

// Revocation against use: when it has returned, nobody uses what was derived.
void race_revoke(u64 count) {
  static Race race;
  const CapIndex root = need(sys::notification_create(self().group), "notification");
  Thread user = need(Thread::create(
                         [](void*) {
                           u64 bit = 1;
                           while (race.stop.load(kRelaxed) == 0) {
                             const u64 index = race.index.load(kRelaxed);
                             if (index != 0 && sys::notification_signal(CapIndex(index), bit).has_value())
                               race.uses.fetch_add(1, kRelaxed);
                           }
                         },
                         nullptr),
                     "thread");
  u64 late = 0;
  for (u64 i = 0; i < count; ++i) {
    const CapIndex made = need(sys::cap_derive(root, rights::notification::signal | rights::derive, 0), "derive");
    const auto deeper = sys::cap_derive(made, rights::notification::signal, 0);
    race.index.store(deeper.has_value() ? deeper->value : made.value, kRelaxed);
    // Until it is used, mostly, and for a while more.
    const u64 seen = race.uses.load(kRelaxed);
    for (u32 spin = 0; i % 4 != 0 && spin < 20'000 && race.uses.load(kRelaxed) == seen; ++spin) asm volatile("pause");
    for (u32 spin = 0; spin < i % 50; ++spin) asm volatile("pause");
    if (!sys::cap_revoke(root).has_value()) ++late;
    static_cast<void>(sys::notification_wait(root, kPoll));  // what was signalled until now
    for (u32 spin = 0; spin < 50; ++spin) asm volatile("pause");
    if (sys::notification_wait(root, kPoll).has_value()) ++late;
  }
  race.stop.store(1, kRelaxed);
  static_cast<void>(user.join(after(20 * kSecond)));
  char line[100];
  say(format_to(line, "# {} uses during {} revocations", race.uses.load(kRelaxed), count));
  check(late == 0, "nothing is used after its revocation has returned");
}

// The message page changes while the kernel reads it: capabilities and deadline come out of it once.
void race_page(u64 count) {
  static Race race;
  static MessagePage* page = nullptr;
  page = &message_page();
  const CapIndex port = need(sys::port_create(self().group, 0), "port");
  const CapIndex weak =
      need(sys::cap_derive(port, rights::transfer | rights::derive | rights::port::call, 7), "derive");
  static u64 bad[2];
  bad[0] = weak.value;
  bad[1] = self().process.value ^ u64 { 1 } << 40;
  Thread writer = need(Thread::create(
                           [](void*) {
                             for (u64 i = 0; race.stop.load(kRelaxed) == 0; ++i) {
                               __atomic_store_n(&page->capabilities[0], bad[i & 1], __ATOMIC_RELAXED);
                               __atomic_store_n(&page->capabilities[1], bad[i >> 1 & 1], __ATOMIC_RELAXED);
                               __atomic_store_n(&page->words[20], i, __ATOMIC_RELAXED);
                             }
                           },
                           nullptr),
                       "thread");
  static CapIndex receive_on;
  receive_on = port;
  Thread server = need(
      Thread::create(
          [](void*) {
            for (;;) {
              Message m;
              if (ipc::receive(receive_on, m) != Status::ok) return;
              for (u32 i = 0; i < m.cap_count; ++i) {
                const auto info = sys::cap_info(CapIndex(message_page().capabilities[i]));
                // Whatever arrives is the one that may be given, with its badge and no more rights.
                if (!info.has_value() || info->scope != 7 || (info->kind_rights >> 16 & rights::port::receive) != 0)
                  race.wrong.fetch_add(1, kRelaxed);
                static_cast<void>(sys::cap_delete(CapIndex(message_page().capabilities[i])));
              }
              race.uses.fetch_add(1, kRelaxed);
            }
          },
          nullptr),
      "thread");
  u64 refused = 0;
  u64 seen = 0;  // which refusals, a bit each
  for (u64 i = 0; i < count; ++i) {
    Message m;
    m.word_count = 30;
    m.cap_count = 2;
    m.deadline = after(20 * kMillisecond);
    const Status status = ipc::call(weak, m);
    refused += status != Status::ok;
    seen |= u64{1} << u8(status);
  }
  race.stop.store(1, kRelaxed);
  static_cast<void>(writer.join(after(20 * kSecond)));
  static_cast<void>(sys::cap_revoke(port));
  static_cast<void>(sys::cap_delete(port));
  static_cast<void>(server.join(after(20 * kSecond)));
  char line[100];
  say(format_to(line, "# {} messages arrived, {} were refused, statuses {:#x}", race.uses.load(kRelaxed), refused,
                seen));
  check(race.wrong.load(kRelaxed) == 0, "a message page that changes under the kernel's eyes gives nothing away");
}

}  // namespace

int main() {
  report::start_cpus();
  u64 guesses = report::amount();
  if (guesses == 0) guesses = 1'000'000;
  g_state = need(sys::random_get(1), "random").r0;
  stale();
  widen();
  race_reuse(guesses / 50);
  race_revoke(guesses / 500);
  race_page(guesses / 500);
  guess(guesses);
  say("attack done");
  end();
}
