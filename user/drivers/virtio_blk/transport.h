// VirtioDevice: a modern virtio device on PCI, reached through the port `device`: registers, features, one queue.
// See          Virtio 1.2, 3.1 (initialization), 4.1.4 (PCI)
#pragma once

#include "idl/device.h"
#include "user/drivers/virtio_blk/virtqueue.h"
#include "user/runtime/memory.h"

namespace keel::virtio {

inline constexpr u64 kFeatureVersion1 = u64{1} << 32;
inline constexpr u64 kFeatureAccessPlatform = u64{1} << 33;

// A structure inside a mapped BAR.
class Region {
 public:
  Region() = default;
  Region(std::byte* base, u64 bytes) : base_(base), bytes_(bytes) {}
  u64 bytes() const { return bytes_; }
  // The device's layout was checked to be at least as long as what is asked for here; what lies beyond reads as zero.
  template <class T>
  T read(u64 offset) const;
  template <class T>
  void write(u64 offset, T value) const;

 private:
  std::byte* base_ = nullptr;
  u64 bytes_ = 0;
};

// Memory that the device reaches: contiguous, pinned for as long as the domain is not released.
struct DeviceMemory {
  Mapping mapping;
  u64 address = 0;  // the device's
};

class VirtioDevice {
 public:
  // Finds the structures and resets the device. Errors: not_found, corrupt; those of the device manager.
  static Result<VirtioDevice> open(CapIndex device);

  const DeviceClient& device() const { return device_; }
  CapIndex domain() const { return domain_.get(); }
  const Region& config() const { return config_; }

  // Accepts those of `wanted` that the device offers; the two that concern the transport are added. Errors:
  // not_supported (legacy device, or it refused).
  Result<u64> negotiate(u64 wanted);
  // Sets up queue 0 with at most `most` descriptors and interrupt vector 0.
  Result<Virtqueue> set_up_queue(u16 most);
  // The device may begin.
  Result<void> run();
  void notify();

  // Binds the queue's interrupt.
  Result<void> bind_interrupt(CapIndex notification, u64 bits);
  // At each interrupt, before the queue is looked at.
  void acknowledge();
  bool needs_reset() const;

  // Errors: those of memory_create and dma_map.
  Result<DeviceMemory> allocate(u64 pages);

 private:
  Result<void> find_regions();
  Result<Region> region_at(u32 capability, u64 needed);
  u8 status() const;
  void set_status(u8 bits);

  DeviceClient device_;
  Cap domain_;
  Cap interrupt_;
  bool is_level_ = false;
  bool has_msix_ = false;
  Mapping bars_[6];
  u64 bar_lead_[6] = {};
  u64 bar_bytes_[6] = {};
  Region common_, notify_, isr_, config_;
  u64 notify_multiplier_ = 0;
  u64 notify_offset_ = 0;
  DeviceMemory queue_memory_;
};

}  // namespace keel::virtio
