// The driver of virtio block devices, one process for each device.
//
// Capabilities  device (of the device manager), serve.block, events
#include "user/drivers/virtio_blk/driver.h"
#include "user/runtime/print.h"

int main() {
  using namespace keel;
  ServiceLoop loop(find_capability("serve.block"));
  virtio::Driver driver(loop);
  const char* what = "?";
  const Result<void> begun = driver.begin(find_capability("device"), &what);
  if (!begun.has_value()) {
    log_error("virtio-blk: {}: {}", what, begun.error());
    return 1;
  }
  loop.add(driver);
  loop.run();
}
