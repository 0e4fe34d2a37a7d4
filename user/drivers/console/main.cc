// The console on a serial line: a 16550, driven by interrupts.
//
// Input that nobody has read and output that was accepted are in the state object, so a successor goes on with them;
// the foreground is forgotten, and whoever set it sets it again. From the start on the kernel shows log records no
// more.
//
// Capabilities  io-ports (8 from 0x3f8), irq-control (line 4), serve.console, state, events, kernel-console
#include <algorithm>
#include <deque>

#include "idl/console.h"
#include "user/drivers/console/byte_queue.h"
#include "user/drivers/console/uart.h"
#include "user/runtime/memory.h"
#include "user/runtime/print.h"
#include "user/runtime/service_loop.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"

namespace keel::console {
namespace {

constexpr u16 kPorts = 0x3f8;
constexpr u64 kLine = 4;
constexpr u8 kControlC = 3;
constexpr u64 kStuckLine = 2 * kSecond;  // a line that takes nothing for so long loses output

struct State {
  static constexpr u64 kMagic = 0x314e4f434c45454b;
  u64 magic;
  ByteQueue<4096> input;
  ByteQueue<16384> output;
};

State& open_state() {
  Result<Mapping> mapping = Status::not_found;
  if (const CapIndex memory = find_capability("state"); memory != kNoCapability) {
    mapping = Mapping::map(memory, Access::read_write);
  }
  if (!mapping.has_value() || mapping->size() < sizeof(State)) {
    mapping = Mapping::create((sizeof(State) + kPageSize - 1) / kPageSize);
    if (!mapping.has_value()) fatal("no memory for the console");
  }
  State& state = *mapping->as<State>();
  mapping->release();
  if (state.magic != State::kMagic) {
    state.input.head = state.input.tail = state.output.head = state.output.tail = 0;
    state.magic = State::kMagic;
  }
  state.input.adopt();
  state.output.adopt();
  return state;
}

class Console final : public ConsoleServer {
 public:
  Console(ServiceLoop& loop, State& state, Uart uart) : state_(state), uart_(uart), changed_(loop) {}

  Result<void> begin(ServiceLoop& loop, CapIndex interrupts) {
    interrupt_ = TRY(own(sys::interrupt_create(interrupts, self().group, kLine, 0)));
    const u32 bit = loop.allocate_bit();
    loop.on_signal(bit, [this] { on_interrupt(); });
    TRY(sys::interrupt_bind(interrupt_.get(), loop.notification(), ServiceLoop::mask(bit)));
    TRY(uart_.begin());
    on_interrupt();  // what came before
    return {};
  }

  Result<void> write(Session session, std::span<const std::byte> text) override {
    for (const std::byte b : text) {
      if (b == std::byte{'\n'}) put('\r');
      put(static_cast<u8>(b));
    }
    transmit();
    for (Reader& r : readers_) r.disturbed = r.disturbed || r.badge != session.badge;
    changed_.notify();
    return {};
  }

  Task<Result<FixedBytes<512>>> read(Session session, u32 max, u64 until) override {
    if (max == 0) co_return Status::invalid_argument;
    // One session, one reader: an earlier one is of a client that died, and would swallow what is typed.
    std::erase_if(readers_, [&](const Reader& r) { return r.badge == session.badge; });
    const u64 number = ++last_reader_;
    readers_.push_back({number, session.badge, false});
    changed_.notify();
    while (state_.input.size() == 0 || readers_.front().number != number) {
      const bool in_time = co_await changed_.wait(Deadline(until));
      const auto mine =
          std::find_if(readers_.begin(), readers_.end(), [&](const Reader& r) { return r.number == number; });
      if (mine == readers_.end()) co_return Status::cancelled;
      const bool disturbed = mine->disturbed && state_.input.size() == 0;
      if (in_time && !disturbed) continue;
      readers_.erase(mine);
      changed_.notify();
      if (disturbed) co_return FixedBytes<512>();
      co_return Status::timed_out;
    }
    readers_.pop_front();
    Result<FixedBytes<512>> text{std::in_place};
    const u32 bytes = std::min({max, state_.input.size(), static_cast<u32>(FixedBytes<512>::capacity())});
    text->resize(bytes);
    for (u32 i = 0; i < bytes; ++i) text->data()[i] = static_cast<std::byte>(state_.input.pop());
    changed_.notify();
    co_return text;
  }

  Result<void> set_foreground(Session, Cap notification, u64 bits) override {
    foreground_bits_ = bits;
    foreground_ = bits == 0 ? Cap() : std::move(notification);
    return {};
  }

  Result<ConsoleSizeReply> size(Session) override { return ConsoleSizeReply{.columns = 80, .rows = 24}; }

 private:
  struct Reader {
    u64 number;
    u64 badge;
    bool disturbed;  // another session has written since it began to wait
  };

  void on_interrupt() {
    // The line is edge triggered: it rings again only after every cause was ended.
    do {
      receive();
      transmit();
    } while (uart_.next_interrupt());
  }

  void receive() {
    bool any = false;
    while (const std::optional<u8> byte = uart_.receive()) {
      if (*byte == kControlC && foreground_) {
        if (!sys::notification_signal(foreground_.get(), foreground_bits_).has_value()) foreground_.reset();
        continue;
      }
      if (state_.input.room() == 0) continue;  // typed too far ahead
      state_.input.push(*byte);
      any = true;
    }
    if (any) changed_.notify();
  }

  // As much as the line takes now.
  void transmit() {
    while (state_.output.size() != 0 && uart_.can_transmit()) {
      for (u32 i = 0; i < Uart::kFifoBytes && state_.output.size() != 0; ++i) uart_.transmit(state_.output.pop());
    }
    uart_.tell_when_sent(state_.output.size() != 0);
  }

  void put(u8 byte) {
    if (state_.output.room() == 0) make_room();
    state_.output.push(byte);
  }

  void make_room() {
    const Deadline deadline = after(kStuckLine);
    for (transmit(); state_.output.room() == 0; transmit()) {
      if (has_passed(deadline)) state_.output.head = state_.output.tail;
      sleep_until(after(kMillisecond));
    }
  }

  State& state_;
  Uart uart_;
  Cap interrupt_;
  Event changed_;  // input came, the order of readers changed, or one is disturbed
  std::deque<Reader> readers_;
  u64 last_reader_ = 0;
  Cap foreground_;
  u64 foreground_bits_ = 0;
};

Result<void> serve(const char** what) {
  *what = "ports";
  const Uart uart(TRY(require_capability("io-ports")), kPorts);
  ServiceLoop loop(find_capability("serve.console"));
  Console console(loop, open_state(), uart);
  *what = "line";
  TRY(console.begin(loop, TRY(require_capability("irq-control"))));
  if (const CapIndex kernel = find_capability("kernel-console"); kernel != kNoCapability) {
    static_cast<void>(sys::kernel_console(kernel, 0));
    log_info("took over the console from the kernel");
  }
  loop.add(console);
  loop.run();
}

}  // namespace
}  // namespace keel::console

int main() {
  const char* what = "?";
  const keel::Result<void> served = keel::console::serve(&what);
  keel::log_error("console: {}: {}", what, served.status());
  return 1;
}
