#include <cstring>
#include "base/format.h"
#include "user/runtime/capabilities.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread.h"
#include "user/runtime/thread_block.h"
using namespace keel;
static void say(std::string_view s) {
  CapIndex control = find_capability("control");
  memcpy(message_page().words, s.data(), s.size());
  (void)sys::log_write(control, s.size(), 2);
}
int main() {
  char b[200];
  say("hello from user space");
  say(format_to(b, "args {} caps {}", argument_count(), start_capability_count()));
  auto info = sys::system_info(find_capability("control"));
  say(format_to(b, "info {} free {} boot {} instr", info.status(), info->free_pages, info->boot_instructions));
  auto r = sys::random_get(2);
  say(format_to(b, "random {:x} {:x}", r->r0, r->r1));
  auto n = sys::notification_create(self().group);
  say(format_to(b, "notification {} {:x}", n.status(), n.has_value() ? n->value : 0));
  auto s = sys::notification_signal(*n, 5);
  auto w = sys::notification_wait(*n, kForever);
  say(format_to(b, "signal {} wait {} {}", s.status(), w.status(), w.has_value() ? *w : 0));
  auto w2 = sys::notification_wait(*n, Deadline(info->uptime_ns + 50'000'000));
  say(format_to(b, "wait with deadline {}", w2.status()));
  (void)sys::system_power(find_capability("control"), 1);
  return 0;
}
