// Interrupts, I/O ports, DMA.
#include <arch/interrupts.h>
#include <arch/ports.h>

#include "kernel/core/machine.h"
#include "kernel/syscall/handlers.h"
#include "kernel/syscall/objects.h"
#include "kernel/syscall/scope.h"

namespace keel::sys {
namespace {

constexpr u64 kLevel = 1, kActiveLow = 2;  // given
constexpr u64 kHeldBack = 2;               // told
constexpr u64 kAllPorts = 0x10000;

Result<void> check_port(const CapSlot& slot, u64 port, u64 width) {
  if (width != 1 && width != 2 && width != 4) return Status::invalid_argument;
  if (port >= kAllPorts || !ScopeRange::of(slot.scope, kAllPorts).contains(port, width)) return Status::out_of_range;
  return {};
}

}  // namespace

Result<CapIndex> interrupt_create(CallContext& c, InterruptControl&, ResourceGroup& group, u64 line, u64 flags) {
  if (!ScopeRange::of(c.target().scope, u64{1} << 32).contains(line)) return Status::out_of_range;
  return c.publish(
      TRY(Interrupt::create_line(c.cpu, group, line, (flags & kLevel) != 0 ? Trigger::level : Trigger::edge,
                                 (flags & kActiveLow) != 0 ? Polarity::active_low : Polarity::active_high)));
}

Result<InterruptCreateMessageResult> interrupt_create_message(CallContext& c, InterruptControl&, ResourceGroup& group) {
  if (c.target().scope != 0) return Status::missing_right;  // a message can be any vector, not a line of some range
  auto interrupt = TRY(Interrupt::create_message(c.cpu, group));
  arch::InterruptMessage message = arch::interrupt_message(c.cpu, interrupt->vector());
  return InterruptCreateMessageResult{TRY(c.publish(interrupt)), message.address, message.data};
}

Result<void> interrupt_bind(CallContext& c, Interrupt& interrupt, Notification& notification, u64 bits) {
  const CapIndex through(c.word(0));
  u64 scope = c.slot(through).scope;
  if (scope != 0 && (bits & ~scope) != 0) return Status::missing_right;
  return interrupt.bind(c.cpu, c.binding(notification, through, bits));
}

Result<void> interrupt_ack(CallContext& c, Interrupt& interrupt) {
  interrupt.acknowledge(c.cpu);
  return {};
}

Result<u64> io_read(CallContext& c, IoPorts&, u64 port, u64 width) {
  TRY(check_port(c.target(), port, width));
  return u64{arch::read_port(u16(port), u32(width))};
}

Result<void> io_write(CallContext& c, IoPorts&, u64 port, u64 width, u64 value) {
  TRY(check_port(c.target(), port, width));
  arch::write_port(u16(port), u32(width), u32(value));
  return {};
}

Result<CapIndex> dma_create(CallContext& c, KernelControl&, ResourceGroup& group) {
  return c.publish(TRY(DmaDomain::create(c.cpu, group)));
}

Result<u64> dma_map(CallContext& c, DmaDomain& domain, MemoryObject& memory, u64 first_page, u64 pages) {
  CapSlot& slot = c.slot(CapIndex(c.word(0)));
  ScopeRange window = ScopeRange::of(slot.scope, memory.pages());
  if (first_page > window.count || pages > window.count - first_page) return Status::out_of_range;
  TRY(domain.map(c.cpu, c.thread.id(), memory, *slot.node(), window.first + first_page, pages,
                 &c.thread.message_page->words[kRegisterWords]));
  return pages;
}

Result<void> dma_release(CallContext& c, DmaDomain& domain) {
  if (!domain.release_some(c.cpu)) return Status::restart;
  return {};
}

Result<InterruptListResult> interrupt_list(CallContext& c, KernelControl&, u64 cursor) {
  for (u64 i = cursor; i < InterruptTable::kVectors; ++i) {
    Interrupt* interrupt = c.machine().interrupts.at(u32(InterruptTable::kFirstVector + i));
    if (interrupt == nullptr) continue;
    return InterruptListResult{
        i + 1,
        interrupt->line(),
        interrupt->vector(),
        interrupt->count(),
        (interrupt->trigger() == Trigger::level ? kLevel : 0) | (interrupt->is_held_back() ? kHeldBack : 0),
        interrupt->home()->index,
        interrupt->storms()};
  }
  return Status::not_found;
}

}  // namespace keel::sys
