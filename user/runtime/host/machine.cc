#include "user/runtime/host/machine.h"

#include <cstdio>
#include <cstdlib>

#include "user/runtime/capabilities.h"
#include "user/runtime/machine.h"
#include "user/runtime/start.h"
#include "user/runtime/thread_block.h"

namespace keel {
namespace host {

Machine& machine() {
  static thread_local Machine instance;
  return instance;
}

}  // namespace host

namespace {

template <class F, class... Args>
Status pass_on(const F& function, Args&&... args) {
  return function ? function(std::forward<Args>(args)...) : Status::not_supported;
}

}  // namespace

ThreadBlock& this_thread() {
  static thread_local MessagePage page;
  static thread_local ThreadBlock block{nullptr, &page, CapIndex(1), 1, {}};
  return block;
}

void set_thread_pointer(ThreadBlock&) {}
u64 read_counter() { return 0; }

Status system_call(Call call, u64 capability, SyscallWords& words) {
  const Status status = pass_on(host::machine().system_call, call, capability, words);
  if (status != Status::ok) last_error() = {call, status, CapIndex(capability)};
  return status;
}

namespace ipc {
Status call(CapIndex port, Message& m) { return pass_on(host::machine().call, port, m); }
Status receive(CapIndex port, Message& m) { return pass_on(host::machine().receive, port, m); }
Status reply_receive(CapIndex port, Message& m) { return pass_on(host::machine().reply_receive, port, m); }
Status send(CapIndex port, const Message& m) { return pass_on(host::machine().send, port, m); }
Status reply_send(CapIndex reply, const Message& m) { return pass_on(host::machine().reply_send, reply, m); }
Status forward(CapIndex port, const Message& m) { return pass_on(host::machine().forward, port, m); }
}  // namespace ipc

// What start.cc has in a real process.
const Self& self() {
  static const Self instance{CapIndex(0x20), CapIndex(0x40), CapIndex(0x60), CapIndex(0x80)};
  return instance;
}
CapIndex find_capability(std::string_view) { return kNoCapability; }
std::string_view argument_value(std::string_view) { return {}; }
std::string_view program_name() { return "test"; }
void exit_process(u64 status) { std::exit(static_cast<int>(status)); }
void fatal(std::string_view why) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(why.size()), why.data());
  std::abort();
}

}  // namespace keel
