#include "user/drivers/virtio_blk/transport.h"

#include <utility>

#include "user/drivers/mmio.h"
#include "user/runtime/clock.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread_block.h"

namespace keel::virtio {
namespace {

// Common configuration.
constexpr u64 kDeviceFeatureSelect = 0, kDeviceFeature = 4, kDriverFeatureSelect = 8, kDriverFeature = 12,
              kConfigVector = 16, kStatus = 20, kQueueSelect = 22, kQueueSize = 24, kQueueVector = 26,
              kQueueEnable = 28, kQueueNotifyOffset = 30, kQueueDescriptors = 32, kQueueAvailable = 40, kQueueUsed = 48,
              kCommonBytes = 56;
constexpr u16 kNoVector = 0xffff;

constexpr u8 kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8, kNeedsReset = 64;

// Configuration space.
constexpr u32 kCapabilityPointer = 0x34, kStatusRegister = 6, kHasCapabilities = 1 << 4;
constexpr u32 kVendorCapability = 9, kMsixCapability = 0x11;
constexpr u32 kMaxCapabilities = 48;
constexpr u8 kCommonType = 1, kNotifyType = 2, kIsrType = 3, kDeviceType = 4;

constexpr u64 kResetPatience = kSecond;

}  // namespace

template <class T>
T Region::read(u64 offset) const {
  if (offset > bytes_ || sizeof(T) > bytes_ - offset) return T{};
  return mmio_read<T>(base_, offset);
}
template <class T>
void Region::write(u64 offset, T value) const {
  if (offset > bytes_ || sizeof(T) > bytes_ - offset) return;
  mmio_write<T>(base_, offset, value);
}
template u8 Region::read<u8>(u64) const;
template u16 Region::read<u16>(u64) const;
template u32 Region::read<u32>(u64) const;
template void Region::write<u8>(u64, u8) const;
template void Region::write<u16>(u64, u16) const;
template void Region::write<u32>(u64, u32) const;

u8 VirtioDevice::status() const { return common_.read<u8>(kStatus); }
void VirtioDevice::set_status(u8 bits) { common_.write<u8>(kStatus, static_cast<u8>(status() | bits)); }
bool VirtioDevice::needs_reset() const { return (status() & kNeedsReset) != 0; }

Result<VirtioDevice> VirtioDevice::open(CapIndex device) {
  VirtioDevice v;
  v.device_ = DeviceClient(device);
  v.domain_ = TRY(v.device_.dma());
  TRY(v.find_regions());
  v.common_.write<u8>(kStatus, 0);
  for (const Deadline deadline = after(kResetPatience); v.status() != 0;) {
    if (has_passed(deadline)) return Status::timed_out;
    sleep_until(after(kMillisecond));
  }
  v.set_status(kAcknowledge);
  v.set_status(kDriver);
  return v;
}

Result<void> VirtioDevice::find_regions() {
  if ((TRY(device_.config_read(kStatusRegister, 2)) & kHasCapabilities) == 0) return Status::not_found;
  u32 at = TRY(device_.config_read(kCapabilityPointer, 1)) & 0xfc;
  u32 notify_at = 0;
  Status refused = Status::not_found;
  const auto use = [&](Region& region, u64 needed) {
    if (region.bytes() != 0) return;
    const Result<Region> found = region_at(at, needed);
    if (found.has_value()) {
      region = *found;
    } else if (refused == Status::not_found) {
      refused = found.error();
    }
  };
  for (u32 i = 0; at != 0 && i < kMaxCapabilities; ++i) {
    const u32 word = TRY(device_.config_read(at, 4));
    has_msix_ = has_msix_ || (word & 0xff) == kMsixCapability;
    if ((word & 0xff) == kVendorCapability) {
      // The first of each type that we can use; why the others cannot is told when there is none.
      switch (word >> 24) {
        case kCommonType:
          use(common_, kCommonBytes);
          break;
        case kNotifyType:
          if (notify_.bytes() != 0) break;
          use(notify_, 2);
          notify_at = at;
          break;
        case kIsrType:
          use(isr_, 1);
          break;
        case kDeviceType:
          use(config_, 1);
          break;
        default:
          break;
      }
    }
    at = word >> 8 & 0xfc;
  }
  if (common_.bytes() == 0 || notify_.bytes() == 0 || config_.bytes() == 0) return refused;
  notify_multiplier_ = TRY(device_.config_read(notify_at + 16, 4));
  return {};
}

Result<Region> VirtioDevice::region_at(u32 capability, u64 needed) {
  const u32 bar = TRY(device_.config_read(capability + 4, 1));
  const u64 offset = TRY(device_.config_read(capability + 8, 4));
  const u64 bytes = TRY(device_.config_read(capability + 12, 4));
  if (bar >= std::size(bars_)) return Status::corrupt;
  if (!bars_[bar]) {
    const DeviceBarResult given = TRY(device_.bar(bar));
    bars_[bar] = TRY(Mapping::map(given.memory.get(), Access::read_write, 0,
                                  align_up(given.offset + given.bytes, kPageSize) / kPageSize));
    bar_lead_[bar] = given.offset;
    bar_bytes_[bar] = given.bytes;
  }
  if (bytes < needed || offset > bar_bytes_[bar] || bytes > bar_bytes_[bar] - offset) return Status::corrupt;
  return Region(bars_[bar].data() + bar_lead_[bar] + offset, bytes);
}

Result<u64> VirtioDevice::negotiate(u64 wanted) {
  common_.write<u32>(kDeviceFeatureSelect, 0);
  u64 offered = common_.read<u32>(kDeviceFeature);
  common_.write<u32>(kDeviceFeatureSelect, 1);
  offered |= u64{common_.read<u32>(kDeviceFeature)} << 32;
  if ((offered & kFeatureVersion1) == 0) return Status::not_supported;
  const u64 accepted = offered & (wanted | kFeatureVersion1 | kFeatureAccessPlatform);
  common_.write<u32>(kDriverFeatureSelect, 0);
  common_.write<u32>(kDriverFeature, static_cast<u32>(accepted));
  common_.write<u32>(kDriverFeatureSelect, 1);
  common_.write<u32>(kDriverFeature, static_cast<u32>(accepted >> 32));
  set_status(kFeaturesOk);
  if ((status() & kFeaturesOk) == 0) return Status::not_supported;
  return accepted;
}

Result<DeviceMemory> VirtioDevice::allocate(u64 pages) {
  const Cap memory = TRY(own(sys::memory_create(self().group, pages, sys::memory_create_flags::contiguous)));
  DeviceMemory made;
  made.mapping = TRY(Mapping::map(memory.get(), Access::read_write, 0, pages));
  TRY(sys::dma_map(domain_.get(), memory.get(), 0, pages));
  made.address = message_page().words[kRegisterWords];
  return made;
}

Result<Virtqueue> VirtioDevice::set_up_queue(u16 most) {
  common_.write<u16>(kQueueSelect, 0);
  u16 size = common_.read<u16>(kQueueSize);
  if (size == 0) return Status::not_found;
  if (most > kMaxQueueSize) most = kMaxQueueSize;
  if (size > most) size = most;
  queue_memory_ = TRY(allocate(Virtqueue::kBytes / kPageSize));
  Virtqueue queue = TRY(Virtqueue::create(queue_memory_.mapping.bytes(), size));
  common_.write<u16>(kQueueSize, size);
  if (has_msix_) {
    common_.write<u16>(kConfigVector, kNoVector);
    common_.write<u16>(kQueueVector, 0);
    if (common_.read<u16>(kQueueVector) != 0) return Status::not_supported;
  }
  const auto set_address = [&](u64 at, u64 value) {
    common_.write<u32>(at, static_cast<u32>(value));
    common_.write<u32>(at + 4, static_cast<u32>(value >> 32));
  };
  set_address(kQueueDescriptors, queue_memory_.address + Virtqueue::kDescriptors);
  set_address(kQueueAvailable, queue_memory_.address + Virtqueue::kAvailable);
  set_address(kQueueUsed, queue_memory_.address + Virtqueue::kUsed);
  notify_offset_ = common_.read<u16>(kQueueNotifyOffset) * notify_multiplier_;
  if (notify_offset_ + 2 > notify_.bytes()) return Status::corrupt;
  common_.write<u16>(kQueueEnable, 1);
  return queue;
}

Result<void> VirtioDevice::bind_interrupt(CapIndex notification, u64 bits) {
  DeviceInterruptResult given = TRY(device_.interrupt(0));
  interrupt_ = std::move(given.interrupt);
  is_level_ = given.level;
  return sys::interrupt_bind(interrupt_.get(), notification, bits);
}

Result<void> VirtioDevice::run() {
  TRY(device_.set_bus_master(true));
  set_status(kDriverOk);
  return {};
}

void VirtioDevice::notify() { notify_.write<u16>(notify_offset_, 0); }

void VirtioDevice::acknowledge() {
  if (!is_level_) return;
  static_cast<void>(isr_.read<u8>(0));                      // reading lowers the line
  static_cast<void>(sys::interrupt_ack(interrupt_.get()));  // ours: cannot fail
}

}  // namespace keel::virtio
