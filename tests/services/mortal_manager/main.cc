// The service manager with a heart attack: its first instance dies half a second after it came up.
#include "user/runtime/print.h"
#include "user/runtime/start.h"
#include "user/services/manager/run.h"

namespace keel {
namespace {

Task<void> die(ServiceLoop& loop) {
  co_await loop.sleep_until(after(500 * kMillisecond));
  log_notice("the service manager dies now");
  __builtin_trap();
}

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  const char* what = "?";
  const Result<void> served = manager::run(&what, [](ServiceLoop& loop) {
    if (argument_value("restarts") == "0") start(die(loop));
  });
  log_error("service manager: {}: {}", what, served.status());
  return 1;
}
