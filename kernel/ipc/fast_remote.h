// Calls and replies between two CPUs that have nothing else to run: a thread goes to the other CPU without the general
// dispatch, and who becomes runnable there runs without passing through a ready queue. Everything else goes the general
// way (entry.cc, CallContext, Port, Thread::arrived), which does the same in full, and looks for other work besides.
//
// Costs        docs/subsystems/ipc.md, "Between two CPUs"
#pragma once

#include "kernel/cap/space.h"

namespace keel {

class Cpu;
class Thread;

class RemoteCalls {
 public:
  // The current thread, at the beginning of a call or a reply_receive: its call leaves for the port's CPU, or the reply
  // for the client's, and this CPU has nothing to run. False: nothing has changed.
  static bool send(Cpu& cpu, Thread& thread);
  // A traveller reaches an idle CPU. It, or the server that waits for its call, is the current thread now. False: as
  // above.
  static bool arrive(Cpu& cpu, Thread& thread);
  // The ends of the entries in which these were successful; answer who is to run.
  static Thread* rest(Cpu& cpu);
  static Thread* go_on(Cpu& cpu);

 private:
  // What the thread's call names, if it is a port that may be used so; or null.
  static CapSlot* target(const Thread& thread, FastUse use);
  static bool send_reply(Cpu& cpu, Thread& server);
  // The current thread waits elsewhere from now on.
  static void leave(Cpu& cpu);
  static void post(Cpu& cpu, Thread& thread, Cpu& to);
  // The server, which has the message, or null.
  static Thread* deliver(Cpu& cpu, Thread& client, u64 now);
  static bool carry(Cpu& cpu, Thread& from, Thread& to, u64 badge);
  static bool may_run(Cpu& cpu, const Thread& thread, u64 now);
};

}  // namespace keel
