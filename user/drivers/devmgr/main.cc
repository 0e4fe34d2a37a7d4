// The device manager: finds the machine's devices and hands each to its driver, and nothing more than that device.
//
// Capabilities  physical-memory, irq-control, dma-control, io-ports (all of them: power control), serve.devmgr, state
// Arguments     all hexadecimal: rsdp=ADDRESS; pci-window=FIRST-END, where BARs that firmware left out are put;
//               ecam=ADDRESS of configuration space of bus 0, for machines without an MCFG table
// See           docs/subsystems/devices.md
#include <charconv>
#include <new>

#include "user/drivers/devmgr/device.h"
#include "user/drivers/devmgr/power.h"
#include "user/runtime/print.h"
#include "user/runtime/service_loop.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"

namespace keel::devmgr {
namespace {

// Badges of device sessions; those below belong to who made the port.
constexpr u64 kDeviceBadge = u64{1} << 32;

u64 hexadecimal(std::string_view text) {
  if (text.starts_with("0x")) text.remove_prefix(2);
  u64 value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

// Where the ISA lines go; what firmware tells as a PCI function's line is one of those.
class Routes final : public acpi::MadtVisitor {
 public:
  explicit Routes(std::array<LineRoute, 16>& lines) : lines_(lines) {
    for (u32 i = 0; i < lines_.size(); ++i) lines_[i] = {i, true};
  }
  void interrupt_override(const acpi::InterruptOverride& o) override {
    if (o.source < lines_.size()) lines_[o.source] = {o.gsi, o.polarity != acpi::Polarity::active_high};
  }

 private:
  std::array<LineRoute, 16>& lines_;
};

using Devices = std::vector<std::unique_ptr<Device>>;

// Collects the functions of one segment.
class Collector final : public pci::Visitor {
 public:
  Collector(Machine& machine, Ecam& config, Devices& devices) : machine_(machine), config_(config), devices_(devices) {}
  void function(const pci::Function& f) override {
    for (const char* problem : f.problems) {
      log_warning("device {:02x}:{:02x}.{}: {}", f.address.bus, f.address.device, f.address.function, problem);
    }
    config_.remember(f);
    std::unique_ptr<Device> device(new (std::nothrow) Device(machine_, config_, f));
    if (device == nullptr) return log_error("no memory for a device");
    device->hush();
    devices_.push_back(std::move(device));
  }

 private:
  Machine& machine_;
  Ecam& config_;
  Devices& devices_;
};

// Gives addresses to the BARs that firmware left without one (machines that start without firmware). The window is
// where PC-like machines have nothing else: from 3 GiB up to configuration space, or behind it up to the I/O APICs.
class Assigner final : public pci::Visitor {
 public:
  Assigner(Ecam& config, u64 first, u64 end) : config_(config), next_(first), end_(end) {}
  void function(const pci::Function& f) override {
    for (u32 i = 0; i < pci::kBars; ++i) {
      const pci::Bar& bar = f.bars[i];
      if (bar.kind != pci::Bar::Kind::memory || f.header_type != 0) continue;
      if (bar.address == 0) {
        assign(f, i);
      } else if (bar.address < end_ && bar.address + bar.size > next_) {
        next_ = bar.address + bar.size;  // firmware did its work; ours goes behind
      }
    }
  }
  u32 assigned() const { return assigned_; }

 private:
  void assign(const pci::Function& f, u32 i) {
    const pci::Bar& bar = f.bars[i];
    const u64 size = bar.size < kPageSize ? kPageSize : bar.size;  // no two devices on a page
    const u64 at = align_up(next_, size);
    if (at + size > end_) return log_warning("no room for a BAR of {} KiB", bar.size / 1024);
    config_.write(f.address, 0x10 + 4 * i, 4, static_cast<u32>(at));
    if (bar.is_64_bit) config_.write(f.address, 0x10 + 4 * i + 4, 4, 0);
    next_ = at + size;
    ++assigned_;
  }

  Ecam& config_;
  u64 next_;
  u64 end_;
  u32 assigned_ = 0;
};

class ManagerFace final : public DeviceManagerServer {
 public:
  ManagerFace(Devices& devices, Power& power, CapIndex port) : devices_(devices), power_(power), port_(port) {}

  Result<DeviceManagerNextReply> next(Session session, u64 cursor) override {
    TRY(check(session));
    for (u64 i = cursor; i < devices_.size(); ++i) {
      if (devices_[i]->function().header_type == 0)
        return DeviceManagerNextReply{.next = i + 1, .info = devices_[i]->info()};
    }
    return Status::not_found;
  }

  Result<DeviceManagerOpenReply> open(Session session, u64 id) override {
    Device* device = TRY(find(session, id));
    TRY(device->take());
    constexpr Rights kSession =
        rights::transfer | rights::derive | rights::inspect | rights::port::call | rights::port::send;
    DeviceManagerOpenReply reply;
    reply.port = TRY(derive(port_, kSession, kDeviceBadge | id));
    reply.domain = TRY(device->domain_for_keeper());
    return reply;
  }

  Result<void> adopt(Session session, u64 id, Cap domain) override {
    Device* device = TRY(find(session, id));
    device->adopt(std::move(domain));
    return {};
  }

  Result<void> quiesce(Session session, u64 id) override {
    Device* device = TRY(find(session, id));
    return device->stop();
  }

  Result<void> power_off(Session session) override {
    TRY(check(session));
    return power_.off();
  }
  Result<void> reset(Session session) override {
    TRY(check(session));
    return power_.reset();
  }

 private:
  static Result<void> check(Session session) {
    if (session.badge != 0) return Status::access_denied;
    return {};
  }
  Result<Device*> find(Session session, u64 id) {
    TRY(check(session));
    for (const std::unique_ptr<Device>& d : devices_) {
      if (d->id() == id && d->function().header_type == 0) return d.get();
    }
    return Status::not_found;
  }

  Devices& devices_;
  Power& power_;
  CapIndex port_;
};

class DeviceFace final : public DeviceServer {
 public:
  explicit DeviceFace(Devices& devices) : devices_(devices) {}
  Result<DeviceInfo> info(Session session) override { return TRY(find(session))->info(); }
  Result<DeviceBarReply> bar(Session session, u32 index) override { return TRY(find(session))->bar(index, devices_); }
  Result<DeviceInterruptReply> interrupt(Session session, u32 index) override {
    return TRY(find(session))->interrupt(index);
  }
  Result<GivenCap> dma(Session session) override { return TRY(find(session))->domain_for_driver(); }
  Result<u32> config_read(Session session, u32 offset, u32 width) override {
    return TRY(find(session))->config_read(offset, width);
  }
  Result<void> set_bus_master(Session session, bool enabled) override {
    return TRY(find(session))->set_bus_master(enabled);
  }

 private:
  Result<Device*> find(Session session) {
    if ((session.badge & kDeviceBadge) == 0) return Status::access_denied;
    for (const std::unique_ptr<Device>& d : devices_) {
      if (d->id() == (session.badge & ~kDeviceBadge)) return d.get();
    }
    return Status::not_found;
  }
  Devices& devices_;
};

// The state object, or memory of our own: then a successor finds nothing, and running drivers must be restarted.
SavedState& open_state() {
  static_assert(std::is_trivially_copyable_v<SavedState>);
  const CapIndex memory = find_capability("state");
  Result<Mapping> mapping = Status::not_found;
  if (memory != kNoCapability) mapping = Mapping::map(memory, Access::read_write);
  if (!mapping.has_value() || mapping->size() < sizeof(SavedState)) {
    log_warning("no state: drivers would not survive a restart of the device manager");
    mapping = Mapping::create((sizeof(SavedState) + kPageSize - 1) / kPageSize);
    if (!mapping.has_value()) fatal("no memory for the state");
  }
  SavedState& state = *mapping->as<SavedState>();
  mapping->release();
  if (state.magic != SavedState::kMagic) state = SavedState{.magic = SavedState::kMagic, .starts = 0, .functions = {}};
  ++state.starts;
  return state;
}

struct System {
  Machine machine;
  std::vector<std::unique_ptr<Ecam>> segments;
  Devices devices;

  void find_devices(const acpi::Tables& tables, SavedState& state);
  void enumerate(const acpi::EcamSegment& segment, SavedState& state);
};

void System::enumerate(const acpi::EcamSegment& segment, SavedState& state) {
  if (segment.segment != 0) return log_warning("PCI segment {} is left out", segment.segment);
  std::unique_ptr<Ecam> made(new (std::nothrow) Ecam(machine.physical, segment, state));
  if (made == nullptr) return log_error("no memory for PCI");
  Ecam& config = *made;
  segments.push_back(std::move(made));
  if (state.starts == 1) {
    constexpr u64 kThreeGiB = u64{3} << 30, kApics = 0xfec00000;
    const u64 window_end = segment.address.value > kThreeGiB ? segment.address.value : kApics;
    const u64 window = segment.address.value > kThreeGiB
                           ? kThreeGiB
                           : std::max(kThreeGiB, segment.address.value + ((u64{segment.last_bus} + 1) << 20));
    const std::string_view wanted = argument_value("pci-window");
    const usize dash = wanted.find('-');
    const bool given = dash != std::string_view::npos;
    Assigner assigner(config, given ? hexadecimal(wanted.substr(0, dash)) : window,
                      given ? hexadecimal(wanted.substr(dash + 1)) : window_end);
    pci::enumerate(config, segment.first_bus, segment.last_bus, assigner);
    if (assigner.assigned() != 0) log_info("gave addresses to {} BARs", assigner.assigned());
  }
  Collector collector(machine, config, devices);
  pci::enumerate(config, segment.first_bus, segment.last_bus, collector);
}

void System::find_devices(const acpi::Tables& tables, SavedState& state) {
  Routes routes(machine.lines);
  if (const auto madt = acpi::walk_madt(tables, routes); !madt.has_value()) log_warning("MADT: {}", madt.error());
  const Result<acpi::EcamSegments> mcfg = acpi::read_mcfg(tables);
  const std::string_view ecam = argument_value("ecam");
  if (!mcfg.has_value() && !ecam.empty())
    return enumerate({.address = PhysAddr(hexadecimal(ecam)), .last_bus = 0}, state);
  if (!mcfg.has_value()) return log_info("no PCI ({})", mcfg.error());
  for (const acpi::EcamSegment& segment : *mcfg) enumerate(segment, state);
}

Result<void> serve() {
  const CapIndex physical = TRY(require_capability("physical-memory"));
  System system;
  system.machine = {.physical = physical,
                    .interrupts = TRY(require_capability("irq-control")),
                    .dma_control = TRY(require_capability("dma-control")),
                    .ports = find_capability("io-ports"),
                    .lines = {}};
  const CapIndex port = TRY(require_capability("serve.devmgr"));
  SavedState& state = open_state();
  PhysicalMemory memory(physical);
  Power power(physical, system.machine.ports);
  PhysAddr rsdp(hexadecimal(argument_value("rsdp")));
  if (rsdp.value == 0) rsdp = acpi::Tables::find_rsdp(memory).value_or(PhysAddr(0));
  const Result<acpi::Tables> tables = acpi::Tables::open(memory, rsdp);
  if (tables.has_value()) {
    if (const Result<void> read = power.read(*tables); !read.has_value()) log_warning("FADT: {}", read.error());
    system.find_devices(*tables, state);
  } else {
    log_warning("ACPI tables at {:#x}: {}", rsdp.value, tables.error());
  }
  u32 used = 0;
  for (const auto& d : system.devices) used += d->in_use();
  log_info("{} PCI functions, {} in use; no IOMMU: drivers of bus masters are trusted", system.devices.size(), used);

  ServiceLoop loop(port);
  ManagerFace manager(system.devices, power, port);
  DeviceFace device(system.devices);
  loop.add(manager);
  loop.add(device);
  loop.run();
}

}  // namespace
}  // namespace keel::devmgr

int main() {
  const keel::Result<void> served = keel::devmgr::serve();
  keel::log_error("device manager: {}", served.status());
  return 1;
}
