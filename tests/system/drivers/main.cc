// Device manager and block driver on the real machine, with this program in the place of the service manager. The disk
// must hold in each 8-byte word its own offset in words (tests/qemu/test_drivers.py makes one).
#include <algorithm>
#include <vector>

#include "idl/block.h"
#include "idl/device.h"
#include "tests/system/report.h"
#include "user/drivers/block_client.h"
#include "user/runtime/clock.h"
#include "user/runtime/cpio.h"
#include "user/runtime/print.h"
#include "user/runtime/spawn.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread.h"

using namespace keel;

// TRY in a function that returns a Status.
#define TRY_STATUS(expr)                            \
  ({                                                \
    auto result = (expr);                           \
    if (!result.has_value()) return result.error(); \
    *std::move(result);                             \
  })

namespace {

constexpr u64 kRestartBit = 0;
constexpr u32 kCompletionBit = 40;
constexpr u64 kStatePages = 8;
constexpr u64 kPatience = 10 * kSecond;

bool check(bool good, std::string_view name) { return report::result(good, name); }
bool check(Status status, std::string_view name) {
  if (status != Status::ok) report::line("# {}", status);
  return report::result(status == Status::ok, name);
}

constexpr Rights kClient =
    rights::transfer | rights::derive | rights::inspect | rights::port::call | rights::port::send;
constexpr Rights kServe = kClient | rights::port::receive | rights::port::badge;

struct System {
  Mapping initrd;
  CapIndex devmgr_port, block_port, devmgr_state, events, driver_events;
  Cap devmgr, driver;
  Cap device, domain;
  u64 id = 0;

  Result<Cap> start(std::string_view name, std::span<const Grant> grants) {
    const CpioArchive archive = TRY(CpioArchive::open(initrd.bytes()));
    char path[40];
    const CpioEntry file = TRY(archive.find(format_to(path, "/bin/{}", name)));
    char rsdp[40];
    // Where QEMU's microvm has configuration space: it has no table that says so.
    const std::string_view arguments[] = {format_to(rsdp, "rsdp={}", argument_value("rsdp")), "ecam=e0000000"};
    const char* what = "?";
    Result<Child> child = spawn_process(
        {.name = name, .image = file.data, .arguments = arguments, .grants = grants, .group = self().group}, &what);
    if (!child.has_value()) {
      report::line("# start {}: {}: {}", name, what, child.error());
      return child.error();
    }
    return std::move(child->process);
  }

  Result<void> start_devmgr() {
    const Grant grants[] = {
        {"log", find_capability("control"), rights::inspect | rights::kernel_control::log_write},
        {"time", find_capability("time"), rights::inspect | rights::memory::read},
        {"physical-memory", find_capability("physical"), rights::common | rights::memory::read | rights::memory::write},
        {"irq-control", find_capability("irq")},
        {"dma-control", find_capability("control"), rights::derive | rights::kernel_control::physical},
        {"io-ports", find_capability("io")},
        {"state", devmgr_state},
        {"serve.devmgr", devmgr_port, kServe},
    };
    devmgr = TRY(start("devmgr", grants));
    return {};
  }
  Result<void> start_driver() {
    const Grant grants[] = {
        {"log", find_capability("control"), rights::inspect | rights::kernel_control::log_write},
        {"time", find_capability("time"), rights::inspect | rights::memory::read},
        {"events", driver_events},
        {"device", device.get(), kClient},
        {"serve.block", block_port, kServe},
    };
    driver = TRY(start("virtio-blk", grants));
    return {};
  }
  DeviceManagerClient manager() const { return DeviceManagerClient(devmgr_port); }

  static Result<void> kill(Cap& process) {
    TRY(sys::process_kill(process.get(), 137));
    TRY(sys::process_wait(process.get(), after(kPatience)));
    process.reset();
    return {};
  }
  Result<void> restart_driver() {
    TRY(kill(driver));
    TRY(manager().quiesce(id, after(kPatience)));
    TRY(start_driver());
    return sys::notification_signal(events, u64{1} << kRestartBit);
  }
  Result<void> restart_devmgr() {
    TRY(kill(devmgr));
    TRY(start_devmgr());
    return manager().adopt(id, domain.get(), after(kPatience));
  }
};

System s;

bool holds_pattern(u64 offset, std::span<const std::byte> data) {
  for (u64 i = 0; i < data.size(); ++i) {
    const u64 at = offset + i;
    if (static_cast<u8>(data[i]) != static_cast<u8>(at / 8 >> at % 8 * 8)) return false;
  }
  return true;
}

Status read_and_check(BlockDevice& disk, u64 offset, std::span<std::byte> buffer) {
  std::fill(buffer.begin(), buffer.end(), std::byte{0xee});
  const Result<void> done = disk.read(offset, buffer);
  if (!done.has_value()) return done.error();
  return holds_pattern(offset, buffer) ? Status::ok : Status::corrupt;
}

// Reads all the time while the drivers die.
struct Reader {
  Atomic<u32> stop{0};
  Atomic<u32> reads{0};
  Atomic<u32> status{0};
  BlockDevice* disk = nullptr;
};
void read_on(void* argument) {
  Reader& r = *static_cast<Reader*>(argument);
  std::vector<std::byte> buffer(1 << 20);
  for (u64 offset = 0; r.stop.load(kAcquire) == 0; offset = (offset + 12'345) % (8 << 20)) {
    const Status status = read_and_check(*r.disk, offset, buffer);
    if (status != Status::ok) r.status.store(static_cast<u32>(status), kRelease);
    r.reads.fetch_add(1, kAcqRel);
  }
}

template <class Disturb>
Status while_reading(BlockDevice& disk, u32 times, Disturb&& disturb) {
  Reader reader;
  reader.disk = &disk;
  Result<Thread> thread = Thread::create(read_on, &reader);
  if (!thread.has_value()) return thread.error();
  Status status = Status::ok;
  for (u32 i = 0; i < times && status == Status::ok; ++i) {
    // It reads between two disturbances, so each finds it at work.
    const u32 before = reader.reads.load(kAcquire);
    const Deadline deadline = after(kPatience);
    while (reader.reads.load(kAcquire) < before + 2 && !has_passed(deadline)) sleep_until(after(kMillisecond));
    if (reader.reads.load(kAcquire) == before) status = Status::timed_out;
    if (status == Status::ok) status = disturb().status();
  }
  reader.stop.store(1, kRelease);
  const Result<void> joined = thread->join(after(6 * kPatience));
  if (status == Status::ok) status = joined.status();
  if (status == Status::ok) status = static_cast<Status>(reader.status.load(kAcquire));
  report::line("# {} reads of 1 MiB", reader.reads.load(kAcquire));
  return status;
}

// What a hostile client may send: each is completed with an error, and the driver goes on.
Status malformed_requests() {
  Cap memory;
  Mapping ring = TRY_STATUS(Mapping::create(kBlockPoolFirstPage + 4, &memory));
  const auto bytes = ring.bytes();
  if (!format_ring<BlockRequest>(bytes.first(kPageSize), kBlockRingEntries).has_value()) return Status::corrupt;
  if (!format_ring<BlockCompletion>(bytes.subspan(kPageSize), kBlockRingEntries).has_value()) return Status::corrupt;
  auto requests = TRY_STATUS(RingProducer<BlockRequest>::attach(bytes.first(kPageSize), kBlockRingEntries));
  auto completions = TRY_STATUS(RingConsumer<BlockCompletion>::attach(bytes.subspan(kPageSize), kBlockRingEntries));
  const Cap port = TRY_STATUS(derive(s.block_port, kClient, 77));
  const Cap woken = TRY_STATUS(own(sys::notification_create(self().group)));
  const BlockAttachResult attached =
      TRY_STATUS(BlockClient(port.get()).attach(memory.get(), woken.get(), 1, after(kPatience)));
  const BlockRequest wrong[] = {
      {.id = 1, .operation = static_cast<BlockOperation>(9), .bytes = 512},
      {.id = 2, .bytes = 511},
      {.id = 3, .bytes = 0},
      {.id = 4, .bytes = kMaxBlockBytes + 512},
      {.id = 5, .bytes = 4096, .first_sector = ~u64{0}},
      {.id = 6, .bytes = 4096, .pool_offset = 4 * kPageSize},
      {.id = 7, .bytes = 4096, .pool_offset = ~u64{0} & ~u64{511}},
      {.id = 8, .bytes = 4096, .pool_offset = 3},
      {.id = 9, .bytes = 4 * kPageSize, .pool_offset = 512},
      {.id = 10, .operation = BlockOperation::flush, .bytes = 512},
      {.id = 11, .bytes = 4096},  // a right one
  };
  for (const BlockRequest& r : wrong) static_cast<void>(requests.push(r));
  static_cast<void>(sys::notification_signal(attached.doorbell.get(), attached.doorbell_bits));
  u32 seen = 0, refused = 0;
  while (seen < std::size(wrong)) {
    BlockCompletion c;
    if (completions.pop(&c).has_value()) {
      ++seen;
      refused += c.status != 0;
      if (c.id == 11 && c.status != 0) return Status::io_error;
      continue;
    }
    if (TRY_STATUS(completions.prepare_to_sleep())) TRY_STATUS(sys::notification_wait(woken.get(), after(kPatience)));
  }
  return refused == std::size(wrong) - 1 && holds_pattern(0, bytes.subspan(2 * kPageSize, 4096)) ? Status::ok
                                                                                                 : Status::corrupt;
}

// The ring's index jumps: the session is lost, the driver is not.
Status corrupt_ring() {
  Cap memory;
  Mapping ring = TRY_STATUS(Mapping::create(kBlockPoolFirstPage + 4, &memory));
  const Cap port = TRY_STATUS(derive(s.block_port, kClient, 78));
  const Cap woken = TRY_STATUS(own(sys::notification_create(self().group)));
  ring.as<RingHeader>()->tail.store(0x7fffffff, kSeqCst);
  const BlockAttachResult attached =
      TRY_STATUS(BlockClient(port.get()).attach(memory.get(), woken.get(), 1, after(kPatience)));
  static_cast<void>(sys::notification_signal(attached.doorbell.get(), attached.doorbell_bits));
  return BlockClient(port.get()).info(after(kPatience)).status();
}

Status find_disk() {
  for (u64 cursor = 0;;) {
    const DeviceManagerNextResult found = TRY_STATUS(s.manager().next(cursor, after(kPatience)));
    report::line("# {:04x}:{:04x} class {:06x}", found.info.vendor, found.info.device, found.info.class_code);
    if (found.info.vendor == 0x1af4 && found.info.device == 0x1042) {
      s.id = found.info.id;
      return Status::ok;
    }
    cursor = found.next;
  }
}

Status open_disk() {
  DeviceManagerOpenResult opened = TRY_STATUS(s.manager().open(s.id, after(kPatience)));
  s.device = std::move(opened.port);
  s.domain = std::move(opened.domain);
  return Status::ok;
}

Status device_rights() {
  const DeviceClient device(s.device.get());
  u32 given = 0;
  for (u32 i = 0; i < 6; ++i) {
    const Result<DeviceBarResult> bar = device.bar(i, after(kPatience));
    if (bar.has_value()) report::line("# BAR {}: {} bytes at {}", i, bar->bytes, bar->offset);
    given += bar.has_value();
    const u64 msix_bar = 1;  // QEMU's virtio devices have their MSI-X table alone in BAR 1
    if (i == msix_bar && bar.has_value()) return Status::access_denied;
  }
  if (device.bar(6).status() != Status::not_found) return Status::corrupt;
  if (device.config_read(4096, 4).status() != Status::out_of_range) return Status::corrupt;
  if (device.config_read(2, 4).status() != Status::out_of_range) return Status::corrupt;
  return given != 0 ? Status::ok : Status::not_found;
}

Status strangers() {
  const Cap stranger = TRY_STATUS(derive(s.devmgr_port, kClient, 5));
  if (DeviceManagerClient(stranger.get()).next(0).status() != Status::access_denied) return Status::corrupt;
  if (DeviceManagerClient(s.device.get()).quiesce(s.id).status() != Status::access_denied) return Status::corrupt;
  if (DeviceClient(stranger.get()).dma().status() != Status::access_denied) return Status::corrupt;
  return Status::ok;
}

Status writes(BlockDevice& disk) {
  std::vector<std::byte> data(300 * 1024), back(data.size());
  for (usize i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7);
  const u64 at = 12 << 20;
  TRY_STATUS(disk.write(at, data));
  TRY_STATUS(disk.flush());
  TRY_STATUS(disk.read(at, back));
  return data == back ? Status::ok : Status::corrupt;
}

Status run() {
  s.initrd = TRY_STATUS(Mapping::map(TRY_STATUS(require_capability("initrd")), Access::read));
  s.devmgr_port = TRY_STATUS(sys::port_create(self().group, 16));
  s.block_port = TRY_STATUS(sys::port_create(self().group, 16));
  s.devmgr_state = TRY_STATUS(sys::memory_create(self().group, kStatePages, 0));
  s.events = TRY_STATUS(sys::notification_create(self().group));
  s.driver_events = TRY_STATUS(sys::notification_create(self().group));
  TRY_STATUS(s.start_devmgr());
  if (!check(find_disk(), "the device manager finds the disk")) return Status::not_found;
  if (!check(open_disk(), "the device manager opens the disk")) return Status::not_found;
  check(device_rights(), "a driver gets its registers and not the MSI-X table");
  check(strangers(), "the device manager refuses strangers");
  TRY_STATUS(s.start_driver());
  const Cap block = TRY_STATUS(derive(s.block_port, kClient, 1));
  BlockConnection connection(block.get(), s.events, kCompletionBit, kRestartBit);
  Result<BlockDevice> opened = BlockDevice::open(connection);
  if (!check(opened.status(), "a client attaches")) return opened.error();
  BlockDevice& disk = *opened;
  std::vector<std::byte> buffer(3 << 20);
  check(read_and_check(disk, 0, {buffer.data(), 512}), "reads a sector");
  check(read_and_check(disk, 1021, {buffer.data(), 7}), "reads bytes across sectors");
  check(read_and_check(disk, 511, {buffer.data(), buffer.size() - 3}), "reads megabytes in parallel");
  check(disk.read(disk.geometry().bytes() - 5, {buffer.data(), 6}).status() == Status::out_of_range,
        "refuses to read past the end");
  check(writes(disk), "writes, flushes, reads back");
  check(malformed_requests(), "malformed requests are refused one by one");
  check(corrupt_ring(), "a corrupt ring costs its session only");
  check(read_and_check(disk, 4096, {buffer.data(), 100'000}), "other sessions go on");
  check(s.restart_driver().status(), "the driver is restarted");
  check(read_and_check(disk, 8192, {buffer.data(), 200'000}), "reads after a restart");
  check(while_reading(disk, 12, [] { return s.restart_driver(); }), "reads go on while the driver dies");
  check(while_reading(disk, 4, [] { return s.restart_devmgr(); }), "reads go on while the device manager dies");
  check(s.restart_driver().status(), "the new device manager stops the device for the next driver");
  check(read_and_check(disk, 8192, {buffer.data(), 200'000}), "and hands it on");
  check(s.manager().open(s.id).status(), "open may be repeated");
  return Status::ok;
}

}  // namespace

int main() {
  const Status status = run();
  if (status != Status::ok) check(status, "the test itself");
  report::line("1..{}", report::g_results);
  report::end_of_results();
}
