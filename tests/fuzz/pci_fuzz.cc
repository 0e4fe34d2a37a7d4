// PCI: functions with arbitrary registers and arbitrary writable bits; whatever is described lies inside its BAR.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "user/drivers/devmgr/pci.h"

namespace {

using namespace keel;       // NOLINT
using namespace keel::pci;  // NOLINT

// Two functions, 00:00.0 and 01:00.0, of 256 bytes of registers and 24 bytes of writable bits for the BARs.
class FuzzedConfig final : public ConfigSpace {
 public:
  FuzzedConfig(const std::uint8_t* data, std::size_t size) {
    std::memcpy(words_, data, size < sizeof words_ ? size : sizeof words_);
    if (size > sizeof words_) {
      size -= sizeof words_;
      std::memcpy(writable_, data + sizeof words_, size < sizeof writable_ ? size : sizeof writable_);
    }
  }
  u32 read32(Address a, u16 offset) override {
    if (++accesses_ > 100000 || offset >= 256 || offset % 4 != 0) std::abort();
    return a.bus < 2 && a.device == 0 ? words_[a.bus][offset / 4] : ~0u;
  }
  void write32(Address a, u16 offset, u32 value) override {
    if (offset < 0x10) return;
    const u32 mask = writable_[a.bus][(offset - 0x10) / 4];
    words_[a.bus][offset / 4] = (words_[a.bus][offset / 4] & ~mask) | (value & mask);
  }

 private:
  u32 words_[2][64] = {};
  u32 writable_[2][6] = {};
  u64 accesses_ = 0;
};

struct Checker final : Visitor {
  void function(const Function& f) override {
    for (const Bar& bar : f.bars)
      require(bar.kind == Bar::Kind::none || (bar.size != 0 && bar.address + bar.size - 1 >= bar.address));
    if (f.msix.has_value()) {
      require(f.bars[f.msix->table_bar].contains(f.msix->table_offset, u64{f.msix->vectors} * 16));
    }
    for (const VirtioRegion& r : f.virtio) {
      require(r.type == VirtioRegion::Type::pci_access || f.bars[r.bar].contains(r.bar_offset, r.length));
    }
  }
  static void require(bool condition) {
    if (!condition) std::abort();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedConfig config(data, size);
  Checker checker;
  enumerate(config, 0, 255, checker);
  return 0;
}
