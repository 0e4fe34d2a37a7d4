#include "kernel/core/machine.h"

#include <arch/memory.h>

#include "kernel/mm/address_space.h"

namespace keel {

Machine::Machine()
    : root_group_(*this, nullptr),
      interrupt_control_(root_group_),
      io_ports_(root_group_),
      kernel_control_(root_group_),
      sealer_(root_group_) {
  CapSpace::make_empty(empty_chunk_, 0);
}

Result<void> Machine::initialise(Cpu& boot_cpu) {
  // The time page is a frame of its own, so that it can be mapped into processes.
  Frame* frame = TRY(frames.allocate(boot_cpu, root_group_, 0, FrameUse::user));
  time_page_address = frames.address(frame);
  time_page = new (phys_to_virt(time_page_address)) TimePage();
  root_group_.set_limit(Resource::frames, frames.statistics().total);
  return {};
}

void KernelControl::on_event(Cpu& cpu) { machine().log.wake_readers(cpu); }
void KernelControl::wake_revoked(Cpu& cpu) { machine().log.wake_revoked(cpu); }

void Machine::attach(Cpu& cpu) {
  busy.add(cpu.index);
  cpu_count.fetch_add(1, kRelease);  // pairs with whoever counts, and then uses them
}

void Machine::add_process(Cpu& cpu, Process& process) {
  LockGuard guard(cpu, lock_);
  processes_.insert(process);
  process_count_.fetch_add(1, kRelaxed);
}

void Machine::remove_process(Cpu& cpu, Process& process) {
  LockGuard guard(cpu, lock_);
  if (!process.list_hook.linked()) return;
  processes_.erase(process);
  process_count_.fetch_sub(1, kRelaxed);
}

Process* Machine::next_process(Cpu& cpu, u64 after) {
  LockGuard guard(cpu, lock_);
  return after == ~u64{0} ? nullptr : processes_.lower_bound(after + 1);
}

Process* Machine::find_process(Cpu& cpu, u64 id) {
  if (id == 0) return nullptr;
  Process* process = next_process(cpu, id - 1);
  return process != nullptr && process->id() == id ? process : nullptr;
}

}  // namespace keel
