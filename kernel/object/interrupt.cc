#include "kernel/object/interrupt.h"

#include <arch/interrupts.h>

#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/mm/heap.h"
#include "kernel/object/notification.h"

namespace keel {

Interrupt::Interrupt(ResourceGroup& group, u64 line, Trigger trigger)
    : KObject(ObjectKind::interrupt, group), line_(line), trigger_(trigger) {}
Interrupt::~Interrupt() = default;

Result<RefPtr<Interrupt>> Interrupt::create_line(Cpu& cpu, ResourceGroup& group, u64 line, Trigger trigger,
                                                 Polarity polarity) {
  InterruptTable& table = cpu.machine.interrupts;
  if (!arch::has_interrupt_line(line)) return Status::not_supported;
  auto interrupt = RefPtr<Interrupt>::adopt(TRY(make<Interrupt>(cpu, group, group, line, trigger)));
  interrupt->vector_ = TRY(table.allocate(cpu, *interrupt));
  arch::route_interrupt_line(cpu, line, interrupt->vector_, trigger == Trigger::level,
                             polarity == Polarity::active_low);
  return interrupt;
}

Result<RefPtr<Interrupt>> Interrupt::create_message(Cpu& cpu, ResourceGroup& group) {
  auto interrupt = RefPtr<Interrupt>::adopt(TRY(make<Interrupt>(cpu, group, group, kMessage, Trigger::edge)));
  interrupt->vector_ = TRY(cpu.machine.interrupts.allocate(cpu, *interrupt));
  return interrupt;
}

void Interrupt::unpublish(Cpu& cpu) {
  if (vector_ == 0) return;
  if (line_ != kMessage) arch::mask_interrupt_line(cpu, line_);
  cpu.machine.interrupts.release(vector_);
}

void Interrupt::destroy(Cpu& cpu) {
  notification_.release(cpu);
  destroy_object(cpu, group(), this);
}

void Interrupt::on_zero_handles(Cpu& cpu) {
  if (line_ != kMessage) arch::mask_interrupt_line(cpu, line_);
  notification_.release(cpu);
}

void Interrupt::fire(Cpu& cpu) {
  ++count_;
  if (trigger_ == Trigger::level) arch::mask_interrupt_line(cpu, line_);
  notification_.signal(cpu);
}

Result<void> Interrupt::bind(Cpu& cpu, const BindRequest<Notification>& target) {
  TRY(notification_.bind(cpu, target));
  if (line_ != kMessage) arch::unmask_interrupt_line(cpu, line_);
  return {};
}

void Interrupt::acknowledge(Cpu& cpu) {
  if (line_ != kMessage) arch::unmask_interrupt_line(cpu, line_);
}

Result<u8> InterruptTable::allocate(Cpu& cpu, Interrupt& interrupt) {
  LockGuard guard(cpu, lock_);
  u32 free = kVectors;
  for (u32 i = 0; i < kVectors; ++i) {
    const Interrupt* other = objects_[i].load(kRelaxed);
    if (other == nullptr) {
      if (free == kVectors) free = i;
    } else if (interrupt.line() != Interrupt::kMessage && other->line() == interrupt.line()) {
      return Status::busy;
    }
  }
  if (free == kVectors) return Status::busy;
  objects_[free].store(&interrupt, kRelease);  // pairs with at()
  return u8(kFirstVector + free);
}

}  // namespace keel
