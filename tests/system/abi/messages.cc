// Threads, messages, channels and wait sets.
#include <array>

#include "tests/system/abi/common.h"
#include "user/runtime/channel.h"

namespace keel::abi_test {

// --- Messages

void test_messages() {
  CapIndex port = *sys::port_create(self().group, 4);
  Child c = make_child(kHighLevel);
  CapIndex theirs = CapIndex(*sys::cap_grant(c.process, port.value, all_rights(ObjectKind::port), 0));
  (void)start(c, abi_server, theirs.value);
  {
    Check check("calls carry 0 to 480 words both ways");
    for (u32 words = 0; words <= kMaxMessageWords; words = words < 10 ? words + 1 : words + 47) {
      Message m;
      m.word_count = words;
      m.deadline = Deadline(now() + 5'000'000'000);
      for (u32 i = 0; i < 8; ++i) m.words[i] = i < words ? i * 7 + words : 0;
      for (u32 i = 8; i < words; ++i) message_page().words[i] = i * 7 + words;
      check.that(ipc::call(port, m) == Status::ok, "call", words);
      check.that(m.word_count == words, "count", m.word_count);
      for (u32 i = 0; i < words && i < 8; ++i) check.that(m.words[i] == i * 7 + words, "word", i);
    }
    Message m;
    m.word_count = 481;
    check.that(ipc::call(port, m) == Status::too_big, "too big");
  }
  {
    Check check("a server's death ends the call that it took, not those that wait");
    end(c);
    c = make_child(kHighLevel);
    theirs = CapIndex(*sys::cap_grant(c.process, port.value, all_rights(ObjectKind::port), 0));
    (void)start(c, abi_take, theirs.value);
    Message m;
    check.that(ipc::call(port, m) == Status::peer_died, "peer died");
    m = {};
    m.deadline = Deadline(now() + 1'000'000);
    check.that(ipc::call(port, m) == Status::timed_out, "waits for a successor");
  }
  {
    Check check("asynchronous messages queue in order");
    for (u64 i = 0; i < 5; ++i) {
      Message m;
      m.word_count = 1;
      m.words[0] = i;
      check.that(ipc::send(port, m) == (i < 4 ? Status::ok : Status::would_block), "send", i);
    }
    for (u64 i = 0; i < 4; ++i) {
      Message m;
      check.that(ipc::receive(port, m) == Status::ok && m.words[0] == i && m.kind == MessageKind::send, "receive", i);
    }
  }
  end(c);
  (void)sys::cap_delete(port);
}

// --- Threads of this process

void test_threads() {
  Check check("threads of one process see each other's words");
  static u32 word = 0;
  static u32 echo = 0;
  auto thread = Thread::create(
      [](void*) {
        for (u32 i = 1; i <= 200; ++i) {
          while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) != i) {
            (void)sys::word_wait(reinterpret_cast<u64>(&word), i - 1, kForever);
          }
          __atomic_store_n(&echo, i, __ATOMIC_RELEASE);
          (void)sys::word_wake(reinterpret_cast<u64>(&echo), 1);
        }
      },
      nullptr);
  check.that(thread.has_value(), "create");
  for (u32 i = 1; i <= 200; ++i) {
    __atomic_store_n(&word, i, __ATOMIC_RELEASE);
    (void)sys::word_wake(reinterpret_cast<u64>(&word), 1);
    while (__atomic_load_n(&echo, __ATOMIC_ACQUIRE) != i) {
      (void)sys::word_wait(reinterpret_cast<u64>(&echo), i - 1, kForever);
    }
  }
  check.that(thread.has_value() && thread->join().has_value(), "join");
}

// --- Forwarding

void test_forwarding() {
  Check check("a forwarded call is answered by who received it last");
  const CapIndex group = self().group;
  static CapIndex front;
  static CapIndex back;
  static CapIndex onward;
  front = *sys::port_create(group, 0);
  back = *sys::port_create(group, 0);
  onward = *sys::cap_derive(back, rights::port::call, 77);
  constexpr u32 kCalls = 200;
  auto server = Thread::create(
      [](void*) {
        Message m;
        for (Status status = ipc::receive(front, m); status == Status::ok; status = ipc::receive(front, m)) {
          if (ipc::forward(onward, m) != Status::ok) break;
        }
      },
      nullptr);
  auto caller = Thread::create(
      [](void*) {
        for (u32 i = 0; i < kCalls; ++i) {
          Message m{.words = {i}, .word_count = 1};
          if (ipc::call(front, m) != Status::ok || m.words[0] != i + 1) return;
        }
        Message last{.words = {kCalls}, .word_count = 1};
        (void)ipc::call(back, last);
      },
      nullptr);
  check.that(server.has_value() && caller.has_value(), "create");
  u32 calls = 0;
  Message m{.deadline = Deadline(now() + 5'000'000'000)};
  for (Status status = ipc::receive(back, m); status == Status::ok; status = ipc::reply_receive(back, m)) {
    if (m.words[0] == kCalls) break;
    ++calls;
    check.that(m.badge == 77 && m.word_count == 1, "badge and words", m.badge);
    m = Message{.words = {m.words[0] + 1}, .word_count = 1, .deadline = Deadline(now() + 5'000'000'000)};
  }
  check.that(calls == kCalls, "every call", calls);
  m = Message{.deadline = kPoll};
  (void)ipc::receive(back, m);
  check.that(ipc::forward(front, Message{}) == Status::bad_state, "forward without a caller");
  if (caller.has_value()) check.that(caller->join().has_value(), "join");
  (void)sys::cap_delete(front);
  if (server.has_value()) check.that(server->join().has_value(), "join");
  for (CapIndex cap : {back, onward}) (void)sys::cap_delete(cap);
}

// --- Channels

void test_channels() {
  struct Ping {
    u32 number;
    u64 more[2];
  };
  Check check("a channel carries values both ways and tells when the other end is gone");
  const u64 bytes = settled_kernel_bytes();
  {
    auto pair = Channel::create(self().group);
    check.that(pair.has_value(), "create");
    if (!pair.has_value()) return;
    Channel mine = std::move(pair->first);
    check.that(mine.receive<u64>(kPoll).status() == Status::timed_out, "nothing yet");
    check.that(mine.receive<u64>(Deadline(now() + 100'000)).status() == Status::timed_out, "deadline");
    // The other end as another process would get it, in a thread of its own.
    static std::array<CapIndex, Channel::kCapabilities> given;
    given = pair->second.release();
    auto echo = Thread::create(
        [](void*) {
          Channel theirs({Cap(given[0]), Cap(given[1]), Cap(given[2]), Cap(given[3])});
          for (auto ping = theirs.receive<Ping>(kForever); ping.has_value(); ping = theirs.receive<Ping>(kForever)) {
            (void)theirs.send(ping->number + ping->more[1]);
            if (ping->number == 99) return;
          }
        },
        nullptr);
    check.that(echo.has_value(), "thread");
    for (u32 i = 0; i < 99; ++i) {
      check.that(mine.send(Ping{i, {1, 2}}).has_value(), "send", i);
      const auto answer = mine.receive<u64>(kForever);
      check.that(answer.has_value() && *answer == i + 2, "receive", i);
    }
    check.that(mine.send(Ping{99, {1, 2}}).has_value(), "send the last");
    if (echo.has_value()) check.that(echo->join().has_value(), "join");
    check.that(mine.receive<u64>(kForever).value_or(0) == 101, "what was sent before the end");
    check.that(mine.receive<u64>(kForever).status() == Status::peer_died, "the end");
    check.that(mine.receive<u64>(kForever).status() == Status::peer_died, "the end again");
    check.that(mine.send(u64{1}).status() == Status::peer_died, "send after the end");
    auto other = Channel::create(self().group);
    check.that(other.has_value() && other->first.send(u32{1}).has_value(), "send a word");
    if (other.has_value()) check.that(other->second.receive<Ping>(kPoll).status() == Status::corrupt, "another size");
    u32 sent = 0;
    while (other.has_value() && other->first.send(sent).has_value()) ++sent;
    check.that(sent == Channel::kQueue && other->first.send(0u).status() == Status::would_block, "full", sent);
  }
  expect_kernel_bytes(check, bytes);
}

// --- Waiting for many

void test_wait_sets() {
  const CapIndex group = self().group;
  const CapIndex set = *sys::wait_set_create(group);
  const CapIndex bell = *sys::notification_create(group);
  static CapIndex port;
  static CapIndex echo;
  port = *sys::port_create(group, 4);
  echo = *sys::notification_create(group);
  {
    Check check("a wait set tells which member is ready, and when one ends");
    check.that(sys::wait_set_wait(set, kPoll).status() == Status::timed_out, "empty");
    check.that(sys::wait_set_add(set, bell.value, 7).has_value(), "add");
    check.that(sys::wait_set_add(set, bell.value, 8).status() == Status::busy, "add twice");
    check.that(sys::wait_set_add(set, port.value, 7).status() == Status::already_exists, "one key twice");
    check.that(sys::wait_set_add(set, group.value, 9).status() == Status::wrong_kind, "a group");
    check.that(sys::wait_set_add(set, 0x20, 9).status() == Status::bad_capability, "nothing");
    (void)sys::notification_signal(bell, 2);
    const auto ready = sys::wait_set_wait(set, kForever);
    check.that(ready.has_value() && ready->key == 7 && ready->gone == 0, "ready");
    check.that(sys::notification_wait(bell, kPoll).has_value(), "take");
    check.that(sys::wait_set_wait(set, Deadline(now() + 100'000)).status() == Status::timed_out, "deadline");
    const CapIndex mortal = *sys::notification_create(group);
    check.that(sys::wait_set_add(set, mortal.value, 9).has_value(), "add another");
    (void)sys::cap_delete(mortal);
    const auto gone = sys::wait_set_wait(set, kForever);
    check.that(gone.has_value() && gone->key == 9 && gone->gone == 1, "gone");
    check.that(sys::wait_set_remove(set, 9).status() == Status::not_found, "remove what is gone");
    check.that(sys::wait_set_remove(set, 7).has_value(), "remove");
  }
  {
    Check check("nothing that comes from other threads is overlooked");
    constexpr u32 kEach = 300;
    check.that(sys::wait_set_add(set, port.value, 1).has_value(), "add the port");
    check.that(sys::wait_set_add(set, echo.value, 2).has_value(), "add the notification");
    auto caller = Thread::create(
        [](void*) {
          for (u32 i = 0; i < kEach; ++i) {
            Message m{.words = {i}, .word_count = 1};
            if (ipc::call(port, m) != Status::ok || m.words[0] != i + 1) (void)sys::notification_signal(echo, 2);
          }
        },
        nullptr);
    auto ringer = Thread::create(
        [](void*) {
          for (u32 i = 0; i < kEach; ++i) (void)sys::notification_signal(echo, 1);
          (void)sys::notification_signal(echo, 4);
        },
        nullptr);
    check.that(caller.has_value() && ringer.has_value(), "create");
    u32 calls = 0;
    u64 bits = 0;
    Message m;
    while (calls < kEach || (bits & 4) == 0) {
      const auto ready = sys::wait_set_wait(set, Deadline(now() + 5'000'000'000));
      check.that(ready.has_value(), "wait", u64(ready.status()));
      if (!ready.has_value()) break;
      if (ready->key == 2) bits |= sys::notification_wait(echo, kPoll).value_or(0);
      if (ready->key != 1) continue;
      m = Message{.deadline = kPoll};
      for (Status status = ipc::receive(port, m); status == Status::ok; status = ipc::reply_receive(port, m)) {
        ++calls;
        m = Message{.words = {m.words[0] + 1}, .word_count = 1, .deadline = kPoll};
      }
    }
    check.that(calls == kEach && (bits & 2) == 0, "every call once", calls);
    if (caller.has_value()) check.that(caller->join().has_value(), "join");
    if (ringer.has_value()) check.that(ringer->join().has_value(), "join");
  }
  for (CapIndex cap : {set, bell, port, echo}) (void)sys::cap_delete(cap);
}

}  // namespace keel::abi_test
