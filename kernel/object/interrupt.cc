#include "kernel/object/interrupt.h"

#include <arch/interrupts.h>

#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/mm/heap.h"
#include "kernel/object/notification.h"

namespace keel {

Interrupt::Interrupt(ResourceGroup& group, u64 line, Trigger trigger)
    : KObject(ObjectKind::interrupt, group), line_(line), trigger_(trigger) {
  allow_plain(0);
}
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
  TimerQueue::remove(cpu, *this);
  notification_.release(cpu);
}

void Interrupt::fire(Cpu& cpu) {
  if (trigger_ == Trigger::level) arch::mask_interrupt_line(cpu, line_);
  post(cpu, kOwnEvent);
}

void Interrupt::on_event(Cpu& cpu) {
  const u64 count = this->count() + 1;
  allow_plain(count);
  if (is_held_back() || notification_.get() == nullptr) return;
  if (count % kBurst == 0) {
    const u64 before = std::exchange(burst_began_ns_, cpu.now_ns());
    if (burst_began_ns_ - before < kBurstNs) return hold_back(cpu);
  }
  notification_.signal(cpu);
  follow(cpu);
}

// So many there were; the fast path may take more until the burst ends.
void Interrupt::allow_plain(u64 count) {
  plain_left_ = trigger_ == Trigger::edge && !is_held_back() ? kBurst - 1 - count % kBurst : 0;
  count_ = count + plain_left_;
}

void Interrupt::hold_back(Cpu& cpu) {
  held_back_.store(true, kRelaxed);
  allow_plain(count());
  if (line_ != kMessage) arch::mask_interrupt_line(cpu, line_);
  cpu.timers.add(cpu, *this, Deadline(burst_began_ns_ + kPauseNs));
  if (storms_++ == 0) log_format(cpu, LogLevel::warning, "interrupt vector {} storms and is held back", vector_);
}

void Interrupt::expired(Cpu& cpu) {
  held_back_.store(false, kRelaxed);
  allow_plain(count());
  if (line_ != kMessage && trigger_ == Trigger::edge) arch::unmask_interrupt_line(cpu, line_);
  notification_.signal(cpu);  // what is level-triggered is unmasked by who deals with it
}

void Interrupt::follow(Cpu& cpu) {
  const Notification* const told = notification_.get();
  if (line_ == kMessage || told == nullptr || told->home() == &cpu || is_queued()) return;
  Cpu& to = *told->home();
  arch::move_interrupt_line(cpu, line_, to);
  set_home(to);
}

Result<void> Interrupt::bind(Cpu& cpu, const BindRequest<Notification>& target) {
  TRY(notification_.bind(cpu, target));
  follow(cpu);
  acknowledge(cpu);
  return {};
}

void Interrupt::acknowledge(Cpu& cpu) {
  if (line_ != kMessage && !is_held_back()) arch::unmask_interrupt_line(cpu, line_);
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
