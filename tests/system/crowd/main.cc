// Calls from many threads to many servers on all CPUs, some with deadlines, some passed on or forwarded, while somebody
// cancels, suspends, moves and re-levels whoever takes part. Each call is answered once, with what belongs to it, or
// ends with a status that says why. test=N: calls in all.
#include <span>
#include <vector>

#include "tests/system/report.h"
#include "user/runtime/clock.h"
#include "user/runtime/syscall.h"
#include "user/runtime/thread.h"

using namespace keel;

namespace {

constexpr u32 kPorts = 3;
constexpr u32 kServers = 5;  // server i serves port i modulo kPorts; those of the last port call nobody
constexpr u32 kClients = 6;
constexpr u64 kStop = ~u64{0};

template <class T>
T need(Result<T> result, const char* what) {
  return report::need(std::move(result), "crowd", what);
}

struct Crowd {
  CapIndex ports[kPorts];
  u64 calls_each = 0;
  Atomic<u64> answers{0}, refusals{0}, wrong{0};
  Atomic<u64> finished{0};
} crowd;

// Marsaglia, "Xorshift RNGs" (2003).
struct Random {
  u64 state;
  u64 next(u64 below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
  }
};

void serve(void* argument) {
  const u32 number = u32(reinterpret_cast<usize>(argument));
  const u32 at = number % kPorts;
  Random random{number + 17};
  Message m;
  Status status = ipc::receive(crowd.ports[at], m);
  for (;;) {
    if (status != Status::ok || m.kind != MessageKind::call) {
      m = {};
      status = ipc::receive(crowd.ports[at], m);
      continue;
    }
    const u64 word = m.words[0];
    const bool stop = word == kStop;
    m = {.words = {word + 1}, .word_count = 1};
    if (!stop && at + 1 < kPorts && random.next(4) == 0) {
      Message onward{.words = {word}, .word_count = 1};
      if (random.next(2) == 0) {
        if (ipc::forward(crowd.ports[kPorts - 1], onward) == Status::ok) {  // answered there
          m = {};
          status = ipc::receive(crowd.ports[at], m);
          continue;
        }
      } else if (ipc::call(crowd.ports[kPorts - 1], onward) == Status::ok && onward.words[0] != word + 1) {
        crowd.wrong.fetch_add(1, kRelaxed);
      }
    }
    if (stop) {  // what was asked last is answered by the end of the receiver's wait
      m.deadline = kPoll;
      static_cast<void>(ipc::reply_receive(crowd.ports[at], m));
      return;
    }
    status = ipc::reply_receive(crowd.ports[at], m);
  }
}

void ask(void* argument) {
  const u32 number = u32(reinterpret_cast<usize>(argument));
  Random random{number * 1000 + 5};
  for (u64 i = 0; i < crowd.calls_each; ++i) {
    const u64 word = u64{number} << 32 | i;
    Message m{.words = {word}, .word_count = 1};
    if (random.next(8) == 0) m.deadline = after(random.next(300'000));
    const Status status = ipc::call(crowd.ports[random.next(kPorts)], m);
    if (status == Status::ok) {
      (m.words[0] == word + 1 ? crowd.answers : crowd.wrong).fetch_add(1, kRelaxed);
    } else {
      (status == Status::timed_out || status == Status::cancelled ? crowd.refusals : crowd.wrong)
          .fetch_add(1, kRelaxed);
    }
  }
  crowd.finished.fetch_add(1, kRelease);
}

u64 cpus_now() { return need(sys::system_info(find_capability("control")), "system_info").cpus; }

void disturb(std::span<const CapIndex> victims) {
  Random random{99};
  while (crowd.finished.load(kAcquire) != kClients) {
    const CapIndex victim = victims[random.next(victims.size())];
    sleep_until(after(random.next(200'000)));  // it is above all others
    switch (random.next(5)) {
      case 0:
        static_cast<void>(sys::thread_cancel(victim));
        break;
      case 1:
        static_cast<void>(sys::thread_suspend(victim));
        sleep_until(after(random.next(100'000)));
        static_cast<void>(sys::thread_resume(victim));
        break;
      case 2:
        static_cast<void>(sys::thread_set_level(victim, kNormalLevel + random.next(4)));
        break;
      default:
        static_cast<void>(
            sys::thread_set_affinity(victim, random.next(3) == 0 ? ~u64{0} : u64{1} << random.next(cpus_now())));
        break;
    }
  }
}

}  // namespace

int main() {
  report::start_cpus();
  const u64 wanted = report::amount() == 0 ? 60'000 : report::amount();
  crowd.calls_each = wanted / kClients;
  report::need(sys::thread_set_level(self().thread, kNormalLevel + 4).status(), "crowd", "level");
  for (CapIndex& port : crowd.ports) port = need(sys::port_create(self().group, 0), "port_create");
  Thread servers[kServers], clients[kClients];
  std::vector<CapIndex> victims;
  for (u32 i = 0; i < kServers; ++i)
    servers[i] = need(Thread::create(&serve, reinterpret_cast<void*>(usize{i})), "server");
  for (u32 i = 0; i < kClients; ++i)
    clients[i] = need(Thread::create(&ask, reinterpret_cast<void*>(usize{i})), "client");
  for (const Thread& t : servers) victims.push_back(t.capability());
  for (const Thread& t : clients) victims.push_back(t.capability());
  disturb(victims);
  for (u32 i = 0; i < kClients; ++i)
    report::need(clients[i].join(after(20 * kSecond)).status(), "crowd", "join client");
  for (u32 i = 0; i < kServers; ++i) {
    Message m{.words = {kStop}, .word_count = 1};
    m.deadline = after(20 * kSecond);
    report::need(ipc::call(crowd.ports[i % kPorts], m), "crowd", "stop server");
  }
  for (u32 i = 0; i < kServers; ++i)
    report::need(servers[i].join(after(20 * kSecond)).status(), "crowd", "join server");
  char line[150];
  const u64 answers = crowd.answers.load(kRelaxed), refusals = crowd.refusals.load(kRelaxed);
  const u64 wrong = crowd.wrong.load(kRelaxed);
  report::say(format_to(line, "# {} calls on {} CPUs: {} answered, {} timed out or cancelled, {} wrong",
                        crowd.calls_each * kClients, cpus_now(), answers, refusals, wrong));
  const bool good = wrong == 0 && answers > wanted / 2 && answers + refusals == crowd.calls_each * kClients;
  report::say(good ? "ok 1 - crowd" : "not ok 1 - crowd");
  report::end(good);
}
