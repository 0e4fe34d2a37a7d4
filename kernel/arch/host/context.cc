#include <arch/context.h>
#include <sched.h>

namespace keel::arch {

void relax() { sched_yield(); }

}  // namespace keel::arch
