// The first process says what it was given and makes some calls: boot options and command line for other tests.
#include "tests/system/report.h"

using namespace keel;
using report::line;

int main() {
  report::say("hello from user space");
  line("args {} caps {}", argument_count(), start_capability_count());
  auto info = sys::system_info(find_capability("control"));
  line("info {} free {} boot {} instr", info.status(), info->free_pages, info->boot_instructions);
  auto r = sys::random_get(2);
  line("random {:x} {:x}", r->r0, r->r1);
  auto n = sys::notification_create(self().group);
  line("notification {} {:x}", n.status(), n.has_value() ? n->value : 0);
  auto s = sys::notification_signal(*n, 5);
  auto w = sys::notification_wait(*n, kForever);
  line("signal {} wait {} {}", s.status(), w.status(), w.has_value() ? *w : 0);
  auto w2 = sys::notification_wait(*n, Deadline(info->uptime_ns + 50'000'000));
  line("wait with deadline {}", w2.status());
  report::end(true);
}
