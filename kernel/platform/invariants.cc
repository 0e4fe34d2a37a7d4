#include "kernel/platform/invariants.h"

#include "kernel/core/machine.h"
#include "kernel/ipc/port.h"

namespace keel {
namespace {

const char* check_thread(Cpu& cpu, const Thread& t) {
  if (t.phase.status != ThreadStatus::running || t.phase.wait != WaitKind::none) return "Thread I1: current runs";
  if (t.wait_queue.linked()) return "Thread I2: who runs is in no wait queue";
  if (t.callee != nullptr || t.reply_object != nullptr) return "Thread I3: who runs waits for no reply";
  if (t.caller != nullptr && t.caller->callee != &t) return "Thread I3: caller and callee agree";
  if (t.context != &t.own_context && t.caller == nullptr && t.lender == nullptr) return "Thread I4: its own context";
  if (t.run_on != &cpu || t.home() != &cpu) return "Thread I5: it runs on run_on, its home";
  if (t.serves != nullptr && t.serves->home() != &cpu) return "Thread I7: it serves a port of this CPU";
  if (t.context != cpu.context) return "Cpu: the current thread's context pays";
  return nullptr;
}

// Another CPU may take the capability away meanwhile: then its name has changed.
const char* check_slot(const CapSpace& caps, CapIndex index) {
  const Result<CapSlot*> slot = caps.find(index);
  if (!slot.has_value()) return nullptr;
  const CapNode& node = *(*slot)->node();
  const bool agrees = node.kind == NodeKind::slot && node.object == (*slot)->object && node.slot == *slot &&
                      node.depth <= CapNode::kMaxDepth;
  if (agrees || !caps.find(index).has_value()) return nullptr;
  return "CapSpace I3: a live slot and its node agree";
}

}  // namespace

const char* find_broken_invariant(Cpu& cpu, u64 capability) {
  if (!cpu.scheduler.bits_agree()) return "Scheduler I2: a bit is set exactly while its queue is not empty";
  if (cpu.machine.frames.statistics().free > cpu.machine.frames.statistics().total) {
    return "FrameAllocator: no more is in use than there is";
  }
  const Thread* t = cpu.current;
  if (t == nullptr) return cpu.context == nullptr ? nullptr : "Cpu: nobody pays while it is idle";
  if (const char* broken = check_thread(cpu, *t)) return broken;
  return check_slot(t->process->caps, CapIndex(capability));
}

}  // namespace keel
