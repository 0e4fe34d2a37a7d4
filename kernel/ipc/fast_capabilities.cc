// The fast path of cap_derive. What it does to space and tree is what CapSpace does for everybody, in line.
#include "kernel/cap/space_inline.h"
#include "kernel/core/process.h"
#include "kernel/ipc/fast_detail.h"

namespace keel {

class FastCapabilities {
 public:
  struct Made {
    u64 status;
    u64 index;
  };
  // CapSpace::insert_child()
  KEEL_FAST_PART static Made derive(Cpu& cpu, CapSpace& to, CapSlot& from, Rights rights) {
    const Result<CapIndex> made = to.insert(cpu, *from.object, from.node(), rights, from.scope);
    return {u64(made.status()), made.has_value() ? made->value : 0};
  }
};

KEEL_FAST void fast_derive(KEEL_FAST_PARAMETERS) {
  thread = cpu->current;
  CapSlot* slot = slot_of(*thread, target);
  if (!is_live(*slot, target)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  // w0: the rights, w1: the scope.
  const u64 missing = (w0 | rights::derive) & ~u64{slot->rights()};
  if ((missing | w1 | status >> Descriptor::kWordsShift | thread->flags) != 0) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  const FastCapabilities::Made made = FastCapabilities::derive(*cpu, thread->process->caps, *slot, Rights(w0));
  thread = cpu->current;
  status = made.status;
  w0 = made.index;
  w1 = w2 = w3 = w4 = w5 = w6 = w7 = target = 0;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

}  // namespace keel
