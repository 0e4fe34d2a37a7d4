// A service that dies when it is asked to. Speaks Console, for want of something better:
//   write           appends to what read gives
//   read            waits for that
//   set_foreground  bits 1: traps; 2: hangs; 3: leaves
//   size            columns: how often it was started (kept in its state), rows: the caller's badge
#include <string>

#include "idl/console.h"
#include "user/runtime/memory.h"
#include "user/runtime/service_loop.h"
#include "user/runtime/start.h"

namespace keel {
namespace {

class Victim final : public ConsoleServer {
 public:
  Victim(ServiceLoop& loop, u32 starts) : written_(loop), starts_(starts) {}

  Result<void> write(Session, std::span<const std::byte> text) override {
    text_.append(reinterpret_cast<const char*>(text.data()), text.size());
    written_.notify();
    return {};
  }
  Task<Result<FixedBytes<512>>> read(Session, u32 max, u64 until) override {
    while (text_.empty()) {
      if (!co_await written_.wait(Deadline(until))) co_return Status::timed_out;
    }
    FixedBytes<512> out(std::string_view(text_).substr(0, max));
    text_.erase(0, out.size());
    co_return out;
  }
  Result<void> set_foreground(Session, Cap, u64 bits) override {
    if (bits == 1) __builtin_trap();
    while (bits == 2) asm volatile("pause");
    if (bits == 3) exit_process(7);
    return {};
  }
  Result<ConsoleSizeReply> size(Session session) override {
    return ConsoleSizeReply{starts_, static_cast<u32>(session.badge)};
  }

 private:
  Event written_;
  std::string text_;
  u32 starts_;
};

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  Result<Mapping> state = Mapping::map(find_capability("state"), Access::read_write);
  if (!state.has_value()) fatal("no state");
  const u32 starts = ++*state->as<u32>();
  ServiceLoop loop(find_capability("serve.victim"));
  Victim victim(loop, starts);
  loop.add(victim);
  loop.run();
}
