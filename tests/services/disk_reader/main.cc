// Reads a disk without pause while the block driver and the device manager are killed under it, then powers off. The
// disk holds in each 8-byte word its number. Passes if every read brought what is on the disk.
#include <vector>

#include "idl/manager.h"
#include "user/drivers/block_client.h"
#include "user/runtime/clock.h"
#include "user/runtime/print.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread.h"

namespace keel {
namespace {

constexpr u32 kCompletionBit = 40, kBlockUse = 0;
constexpr u64 kBytes = 256 * 1024;
constexpr u64 kPatience = 30 * kSecond;

struct Reader {
  BlockDevice* disk;
  Atomic<u32> stop{0};
  Atomic<u32> reads{0};
  Atomic<u32> failed{0};
};

void read_on(void* argument) {
  Reader& r = *static_cast<Reader*>(argument);
  std::vector<u64> words(kBytes / 8);
  for (u64 first = 0; r.stop.load(kAcquire) == 0; first = (first + 4099) % ((8u << 20) / 8)) {
    const Result<void> done = r.disk->read(first * 8, std::as_writable_bytes(std::span(words)));
    bool good = done.has_value();
    for (u64 i = 0; good && i < words.size(); ++i) good = words[i] == first + i;
    if (!good) {
      log_error("read at {}: {}", first * 8, done.status());
      r.failed.fetch_add(1, kAcqRel);
    }
    r.reads.fetch_add(1, kAcqRel);
  }
}

Result<ManagerListResult> find(const ManagerClient& manager, std::string_view name) {
  for (u64 cursor = 0;;) {
    ManagerListResult entry = TRY(manager.list(cursor));
    if (entry.name == name) return entry;
    cursor = entry.next;
  }
}

// Waits for reads that began after now, and for the service to be back.
bool recovers(Reader& reader, const ManagerClient& manager, std::string_view name, u64 old_pid) {
  const u32 before = reader.reads.load(kAcquire);
  for (const Deadline deadline = after(kPatience); !has_passed(deadline); sleep_until(after(kMillisecond))) {
    const Result<ManagerListResult> entry = find(manager, name);
    constexpr u32 kReady = 2;
    const bool back = entry.has_value() && entry->state == kReady && entry->pid != old_pid;
    if (back && reader.reads.load(kAcquire) >= before + 3) return true;
  }
  return false;
}

Result<bool> run() {
  const ManagerClient manager(TRY(require_capability("manager")));
  BlockConnection connection(TRY(require_capability("block")), TRY(require_capability("events")), kCompletionBit,
                             kBlockUse);
  BlockDevice disk = TRY(BlockDevice::open(connection));
  Reader reader{.disk = &disk};
  Thread thread = TRY(Thread::create(read_on, &reader));
  bool good = true;
  for (const std::string_view victim :
       {"virtio-blk", "devmgr", "virtio-blk", "virtio-blk", "devmgr", "devmgr", "virtio-blk"}) {
    const ManagerListResult entry = TRY(find(manager, victim));
    TRY(manager.kill(entry.pid));
    const bool recovered = recovers(reader, manager, victim, entry.pid);
    log_warning("{} killed: {}", victim, recovered ? "reads go on" : "no recovery");
    good = good && recovered;
  }
  reader.stop.store(1, kRelease);
  TRY(thread.join(after(kPatience)));
  log_warning("{} reads, {} failed", reader.reads.load(kAcquire), reader.failed.load(kAcquire));
  return good && reader.failed.load(kAcquire) == 0;
}

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  const Result<bool> done = run();
  const bool good = done.has_value() && *done;
  log_warning("storage: {}", good ? "passed" : "failed");
  // By ACPI, through the device manager: the emulator ends with 0 then.
  if (good) static_cast<void>(ManagerClient(find_capability("manager")).power(static_cast<u32>(PowerAction::off)));
  static_cast<void>(sys::system_power(find_capability("reboot"), 2));
  return 1;
}
