#include "user/drivers/devmgr/pci.h"

namespace keel::pci {
namespace {

constexpr u16 kIds = 0x00;
constexpr u16 kCommand = 0x04;
constexpr u16 kClass = 0x08;
constexpr u16 kHeader = 0x0c;
constexpr u16 kFirstBar = 0x10;
constexpr u16 kBuses = 0x18;
constexpr u16 kSubsystem = 0x2c;
constexpr u16 kCapabilityPointer = 0x34;
constexpr u16 kInterrupt = 0x3c;
constexpr u32 kFirstCapability = 0x40;

constexpr u32 kDecodeBits = 0x3;  // I/O and memory
constexpr u32 kStatusHasCapabilities = 1u << 20;
constexpr u16 kVirtioVendor = 0x1af4;
constexpr u32 kMsixEntryBytes = 16;

class Prober {
 public:
  Prober(ConfigSpace& config, Address address) : config_(config) { f_.address = address; }

  std::optional<Function> probe() {
    const u32 ids = read32(kIds);
    if ((ids & 0xffff) == 0xffff || (ids & 0xffff) == 0) return std::nullopt;
    f_.vendor = static_cast<u16>(ids);
    f_.device = static_cast<u16>(ids >> 16);
    const u32 kind = read32(kClass);
    f_.revision = static_cast<u8>(kind);
    f_.interface = static_cast<u8>(kind >> 8);
    f_.subclass = static_cast<u8>(kind >> 16);
    f_.class_code = static_cast<u8>(kind >> 24);
    f_.header_type = read32(kHeader) >> 16 & 0x7f;
    const u32 interrupt = read32(kInterrupt);
    f_.interrupt_line = static_cast<u8>(interrupt);
    f_.interrupt_pin = interrupt >> 8 & 0xff;
    if (f_.interrupt_pin > 4) {
      f_.interrupt_pin = 0;
      problem("impossible interrupt pin");
    }
    switch (f_.header_type) {
      case 0: {
        const u32 subsystem = read32(kSubsystem);
        f_.subsystem_vendor = static_cast<u16>(subsystem);
        f_.subsystem = static_cast<u16>(subsystem >> 16);
        size_bars(kBars);
        break;
      }
      case 1: {
        const u32 buses = read32(kBuses);
        f_.secondary_bus = static_cast<u8>(buses >> 8);
        f_.subordinate_bus = static_cast<u8>(buses >> 16);
        size_bars(2);
        break;
      }
      case 2:
        return f_;  // CardBus: its capability pointer stands elsewhere
      default:
        problem("unknown header type");
        return f_;
    }
    walk_capabilities();
    return f_;
  }

 private:
  u32 read32(u32 offset) { return config_.read32(f_.address, static_cast<u16>(offset)); }
  void write32(u32 offset, u32 value) { config_.write32(f_.address, static_cast<u16>(offset), value); }
  void problem(const char* text) { (void)f_.problems.push_back(text); }  // more than fit are not worth telling

  void size_bars(usize count) {
    // The upper half is the status register, whose bits are cleared by writing ones: write zeros.
    const u32 command = read32(kCommand) & 0xffff;
    if ((command & kDecodeBits) != 0) write32(kCommand, command & ~kDecodeBits);
    for (usize i = 0; i < count; i += f_.bars[i].is_64_bit ? 2 : 1) size_bar(i, count);
    if ((command & kDecodeBits) != 0) write32(kCommand, command);
  }

  // The bits of a BAR that can be written, found by writing ones.
  u32 mask_of(u32 offset, u32 value) {
    write32(offset, ~u32{0});
    const u32 mask = read32(offset);
    write32(offset, value);
    return mask;
  }

  void size_bar(usize i, usize count) {
    Bar& bar = f_.bars[i];
    const u32 offset = kFirstBar + 4 * static_cast<u32>(i);
    const u32 low = read32(offset);
    u64 mask = mask_of(offset, low);
    if ((low & 1) != 0) {
      mask &= 0xfffffffc;
      if (mask == 0) return;
      if ((mask & 0xffff0000) == 0) mask |= 0xffff0000;  // only 16 bits need to be implemented
      set_bar(&bar, Bar::Kind::io, low & 0xfffffffc, mask | ~u64{0xffffffff});
      if (bar.address > 0xffff) {
        bar = Bar();
        problem("I/O BAR above 64 KiB");
      }
      return;
    }
    const u32 type = low >> 1 & 3;
    if (type == 2) {
      if (i + 1 >= count) return problem("64-bit BAR in the last place");
      const u32 high = read32(offset + 4);
      mask = (mask & 0xfffffff0) | u64{mask_of(offset + 4, high)} << 32;
      bar.is_64_bit = true;
      if (mask == 0) return;
      set_bar(&bar, Bar::Kind::memory, (low & 0xfffffff0) | u64{high} << 32, mask);
      bar.is_64_bit = true;
    } else {
      mask &= 0xfffffff0;
      if (mask == 0) return;
      if (type == 3) return problem("BAR of reserved type");
      set_bar(&bar, Bar::Kind::memory, low & 0xfffffff0, mask | ~u64{0xffffffff});
    }
    bar.prefetchable = bar.kind != Bar::Kind::none && (low & 8) != 0;
  }

  void set_bar(Bar* bar, Bar::Kind kind, u64 address, u64 mask) {
    const u64 size = ~mask + 1;
    u64 end = 0;
    if (size == 0 || (size & (size - 1)) != 0) return problem("BAR of impossible size");
    if (!is_aligned(address, size) || !checked_add(address, size - 1, &end))
      return problem("BAR at an impossible address");
    bar->kind = kind;
    bar->address = address;
    bar->size = size;
  }

  void walk_capabilities() {
    if ((read32(kCommand) & kStatusHasCapabilities) == 0) return;
    u64 seen = 0;  // by 32-bit word: a list that loops comes to one a second time
    u32 at = read32(kCapabilityPointer) & 0xfc;
    while (at != 0) {
      if (at < kFirstCapability) return problem("capability inside the header");
      const u64 bit = u64{1} << (at / 4);
      if ((seen & bit) != 0) return problem("capability list loops");
      seen |= bit;
      const u32 word = read32(at);
      const Capability capability{static_cast<u8>(word), static_cast<u8>(at)};
      if (capability.id == 0xff) return problem("capability list ends in nothing");
      (void)f_.capabilities.push_back(capability);  // 48 words lie behind the header: they fit
      if (capability.id == kCapabilityMsi && !f_.msi.has_value()) read_msi(at, word);
      if (capability.id == kCapabilityMsix && !f_.msix.has_value()) read_msix(at, word);
      if (capability.id == kCapabilityVendor && f_.vendor == kVirtioVendor) read_virtio(at, word);
      at = word >> 8 & 0xfc;
    }
  }

  void read_msi(u32 at, u32 word) {
    const u32 control = word >> 16;
    const u32 log_vectors = control >> 1 & 7;
    const bool is_64_bit = (control & 0x80) != 0;
    const bool maskable = (control & 0x100) != 0;
    const u32 bytes = (is_64_bit ? 14u : 10u) + (maskable ? 10 : 0);
    if (log_vectors > 5 || at + bytes > 256) return problem("malformed MSI capability");
    f_.msi = Msi{static_cast<u8>(at), static_cast<u8>(1 << log_vectors), is_64_bit, maskable};
  }

  void read_msix(u32 at, u32 word) {
    if (at + 12 > 256) return problem("malformed MSI-X capability");
    const u32 table = read32(at + 4);
    const u32 pending = read32(at + 8);
    Msix msix;
    msix.offset = static_cast<u8>(at);
    msix.vectors = static_cast<u16>((word >> 16 & 0x7ff) + 1);
    msix.table_bar = table & 7;
    msix.table_offset = table & ~u32{7};
    msix.pending_bar = pending & 7;
    msix.pending_offset = pending & ~u32{7};
    const u64 table_bytes = u64{msix.vectors} * kMsixEntryBytes;
    const u64 pending_bytes = (u64{msix.vectors} + 63) / 64 * 8;
    if (!in_memory_bar(msix.table_bar, msix.table_offset, table_bytes) ||
        !in_memory_bar(msix.pending_bar, msix.pending_offset, pending_bytes)) {
      return problem("MSI-X table outside its BAR");
    }
    f_.msix = msix;
  }

  bool in_memory_bar(u8 bar, u64 offset, u64 length) const {
    return bar < kBars && f_.bars[bar].kind == Bar::Kind::memory && f_.bars[bar].contains(offset, length);
  }

  void read_virtio(u32 at, u32 word) {
    const u32 length = word >> 16 & 0xff;
    const u32 type = word >> 24;
    const bool known = (type >= 1 && type <= 5) || type == 8;
    if (!known) return;  // a vendor capability of another kind, or from a newer standard
    const u32 needed = type == 2 ? 20 : type == 8 ? 24 : 16;
    if (length < needed || at + length > 256) return problem("malformed virtio capability");
    const u32 place = read32(at + 4);
    VirtioRegion region;
    region.type = static_cast<VirtioRegion::Type>(type);
    region.offset = static_cast<u8>(at);
    region.bar = static_cast<u8>(place);
    region.id = static_cast<u8>(place >> 8);
    region.bar_offset = read32(at + 8);
    region.length = read32(at + 12);
    if (region.type == VirtioRegion::Type::notify) region.notify_multiplier = read32(at + 16);
    if (region.type == VirtioRegion::Type::shared_memory) {
      region.bar_offset |= u64{read32(at + 16)} << 32;
      region.length |= u64{read32(at + 20)} << 32;
    }
    // The access window through configuration space names no region until a driver writes one.
    if (region.type != VirtioRegion::Type::pci_access) {
      if (region.bar >= kBars || !f_.bars[region.bar].contains(region.bar_offset, region.length) ||
          region.length == 0) {
        return problem("virtio structure outside its BAR");
      }
    }
    if (!f_.virtio.push_back(region)) problem("too many virtio structures");
  }

  ConfigSpace& config_;
  Function f_;
};

class Walker {
 public:
  Walker(ConfigSpace& config, u8 last_bus, Visitor& visitor)
      : config_(config), last_bus_(last_bus), visitor_(visitor) {}

  void walk(u8 first_bus) {
    mark(first_bus);
    // Buses in order of discovery; each is queued once.
    (void)queue_.push_back(first_bus);
    for (usize i = 0; i < queue_.size(); ++i) walk_bus(queue_[i]);
  }

 private:
  void walk_bus(u8 bus) {
    for (u8 device = 0; device < 32; ++device) {
      const Address first{bus, device, 0};
      if (!visit(first)) continue;
      if ((config_.read32(first, kHeader) >> 16 & 0x80) == 0) continue;  // one function only
      for (u8 function = 1; function < 8; ++function) (void)visit({bus, device, function});
    }
  }
  bool visit(Address address) {
    std::optional<Function> f = probe(config_, address);
    if (!f.has_value()) return false;
    if (f->is_bridge() && f->secondary_bus != 0) {
      if (f->secondary_bus <= address.bus || f->secondary_bus > last_bus_ || marked(f->secondary_bus)) {
        (void)f->problems.push_back("bridge with an impossible bus number");
      } else {
        mark(f->secondary_bus);
        (void)queue_.push_back(f->secondary_bus);
      }
    }
    visitor_.function(*f);
    return true;
  }
  bool marked(u8 bus) const { return (seen_[bus / 64] >> bus % 64 & 1) != 0; }
  void mark(u8 bus) { seen_[bus / 64] |= u64{1} << bus % 64; }

  ConfigSpace& config_;
  u8 last_bus_;
  Visitor& visitor_;
  std::array<u64, 4> seen_{};
  InplaceVector<u8, 256> queue_;
};

}  // namespace

const VirtioRegion* Function::find_virtio(VirtioRegion::Type type) const {
  for (const VirtioRegion& region : virtio) {
    if (region.type == type) return &region;
  }
  return nullptr;
}

std::optional<Function> probe(ConfigSpace& config, Address address) { return Prober(config, address).probe(); }

void enumerate(ConfigSpace& config, u8 first_bus, u8 last_bus, Visitor& visitor) {
  Walker(config, last_bus, visitor).walk(first_bus);
}

}  // namespace keel::pci
