// The service manager: the first process. The kernel gives it authority over the machine; it gives parts of that to
// services, as /etc/services.conf in the boot archive says.
#include "user/runtime/print.h"
#include "user/services/manager/run.h"

int main() {
  const char* what = "?";
  const keel::Result<void> served = keel::manager::run(&what);
  keel::log_error("service manager: {}: {}", what, served.status());
  return 1;
}
