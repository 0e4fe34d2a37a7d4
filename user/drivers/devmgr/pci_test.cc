#include "user/drivers/devmgr/pci.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>
#include <vector>

namespace keel::pci {
namespace {

// A function with 64 words; only bits in `writable` change.
struct FakeFunction {
  std::array<u32, 64> words{};
  std::array<u32, 64> writable{};
  void set8(u32 offset, u32 value) {
    u32& word = words[offset / 4];
    const u32 shift = offset % 4 * 8;
    word = (word & ~(0xffu << shift)) | value << shift;
  }
  void set16(u32 offset, u32 value) {
    set8(offset, value & 0xff);
    set8(offset + 1, value >> 8);
  }
  void set32(u32 offset, u32 value) { words[offset / 4] = value; }
  // A memory BAR; 64-bit ones take two places.
  void memory_bar(u32 index, u64 address, u64 size, u32 flags = 0) {
    const u64 mask = ~(size - 1);
    words[4 + index] = static_cast<u32>(address) | flags;
    writable[4 + index] = static_cast<u32>(mask) & ~0xfu;
    if ((flags & 6) == 4) {
      words[5 + index] = static_cast<u32>(address >> 32);
      writable[5 + index] = static_cast<u32>(mask >> 32);
    }
  }
  void io_bar(u32 index, u32 address, u32 size) {
    words[4 + index] = address | 1;
    writable[4 + index] = ~(size - 1) & 0xfffc;
  }
};

class FakeConfig final : public ConfigSpace {
 public:
  FakeFunction& add(Address address, u16 vendor, u16 device, u8 header = 0) {
    FakeFunction& f = functions[address];
    f.set32(0, vendor | u32{device} << 16);
    f.set8(0x0e, header);
    f.writable[1] = 0xffff;
    f.set16(4, 0x0407);
    return f;
  }
  u32 read32(Address address, u16 offset) override {
    ++accesses;
    EXPECT_EQ(offset % 4, 0);
    EXPECT_LT(offset, 256);
    const auto found = functions.find(address);
    return found == functions.end() ? ~0u : found->second.words[offset / 4];
  }
  void write32(Address address, u16 offset, u32 value) override {
    ++accesses;
    FakeFunction& f = functions.at(address);
    // BARs change only while decoding is off.
    if (offset >= 0x10 && offset < 0x28) {
      EXPECT_EQ(f.words[1] & 3, 0u);
    } else {
      EXPECT_EQ(offset, 4);
      EXPECT_EQ(value >> 16, 0u);  // would clear status bits
    }
    u32& word = f.words[offset / 4];
    word = (word & ~f.writable[offset / 4]) | (value & f.writable[offset / 4]);
  }
  std::map<Address, FakeFunction> functions;
  u64 accesses = 0;
};

struct List final : Visitor {
  void function(const Function& f) override { found.push_back(f); }
  std::vector<Function> found;
};

std::string problems_of(const Function& f) {
  std::string all;
  for (const char* text : f.problems) all += std::string(text) + ";";
  return all;
}

constexpr Address kDevice{0, 3, 0};

// A modern virtio block device as QEMU shows it: MSI-X in BAR 1, structures in the 64-bit BAR 4.
FakeFunction& add_virtio(FakeConfig* config) {
  FakeFunction& f = config->add(kDevice, 0x1af4, 0x1042);
  f.set32(0x08, 0x01000001);
  f.set32(0x2c, 0x11001af4);
  f.set16(0x3c, 0x010b);
  f.set8(6, 0x10);
  f.memory_bar(1, 0xfebd5000, 0x1000);
  f.memory_bar(4, 0x4000000000, 0x4000, 0xc);
  f.set8(0x34, 0x98);
  f.set32(0x98, 1u << 16 | 0x84u << 8 | 0x11);  // 2 vectors
  f.set32(0x9c, 1);
  f.set32(0xa0, 0x800 | 1);
  const auto virtio = [&](u32 at, u32 next, u32 length, u32 type, u32 offset, u32 bytes) {
    f.set32(at, type << 24 | length << 16 | next << 8 | 9);
    f.set32(at + 4, 4);
    f.set32(at + 8, offset);
    f.set32(at + 12, bytes);
  };
  virtio(0x84, 0x70, 20, 5, 0, 0);
  virtio(0x70, 0x60, 20, 2, 0x3000, 0x1000);
  f.set32(0x80, 4);
  virtio(0x60, 0x50, 16, 4, 0x2000, 0x1000);
  virtio(0x50, 0x40, 16, 3, 0x1000, 0x1000);
  virtio(0x40, 0, 16, 1, 0, 0x1000);
  return f;
}

TEST(Pci, DescribesAVirtioDevice) {
  FakeConfig config;
  add_virtio(&config);
  const auto before = config.functions.at(kDevice).words;
  const Function f = *probe(config, kDevice);
  EXPECT_EQ(config.functions.at(kDevice).words, before);  // all written back
  EXPECT_EQ(problems_of(f), "");
  EXPECT_EQ(f.vendor, 0x1af4);
  EXPECT_EQ(f.device, 0x1042);
  EXPECT_EQ(f.class_code, 1);
  EXPECT_EQ(f.revision, 1);
  EXPECT_EQ(f.subsystem, 0x1100);
  EXPECT_EQ(f.interrupt_line, 0x0b);
  EXPECT_EQ(f.interrupt_pin, 1);
  EXPECT_EQ(f.bars[0].kind, Bar::Kind::none);
  EXPECT_EQ(f.bars[1].size, 0x1000u);
  EXPECT_EQ(f.bars[1].address, 0xfebd5000u);
  EXPECT_EQ(f.bars[4].size, 0x4000u);
  EXPECT_EQ(f.bars[4].address, 0x4000000000u);
  EXPECT_TRUE(f.bars[4].is_64_bit);
  EXPECT_TRUE(f.bars[4].prefetchable);
  EXPECT_EQ(f.bars[5].kind, Bar::Kind::none);
  EXPECT_EQ(f.capabilities.size(), 6u);
  ASSERT_TRUE(f.msix.has_value());
  EXPECT_EQ(f.msix->offset, 0x98);
  EXPECT_EQ(f.msix->vectors, 2);
  EXPECT_EQ(f.msix->table_bar, 1);
  EXPECT_EQ(f.msix->table_offset, 0u);
  EXPECT_EQ(f.msix->pending_offset, 0x800u);
  ASSERT_EQ(f.virtio.size(), 5u);
  const VirtioRegion* notify = f.find_virtio(VirtioRegion::Type::notify);
  ASSERT_NE(notify, nullptr);
  EXPECT_EQ(notify->bar, 4);
  EXPECT_EQ(notify->bar_offset, 0x3000u);
  EXPECT_EQ(notify->notify_multiplier, 4u);
  EXPECT_EQ(f.find_virtio(VirtioRegion::Type::shared_memory), nullptr);
}

TEST(Pci, SizesBarsOfEveryKind) {
  FakeConfig config;
  FakeFunction& f = config.add(kDevice, 0x8086, 1);
  f.io_bar(0, 0xc040, 64);
  f.memory_bar(1, 0, 0x100000);                     // not assigned
  f.memory_bar(2, 0x800000000, u64{8} << 30, 0xc);  // larger than 32 bits
  f.io_bar(4, 0xe000, 4);
  const Function found = *probe(config, kDevice);
  EXPECT_EQ(problems_of(found), "");
  EXPECT_EQ(found.bars[0].kind, Bar::Kind::io);
  EXPECT_EQ(found.bars[0].address, 0xc040u);
  EXPECT_EQ(found.bars[0].size, 64u);
  EXPECT_EQ(found.bars[1].size, 0x100000u);
  EXPECT_EQ(found.bars[1].address, 0u);
  EXPECT_EQ(found.bars[2].size, u64{8} << 30);
  EXPECT_EQ(found.bars[2].address, 0x800000000u);
  EXPECT_EQ(found.bars[4].size, 4u);
}

TEST(Pci, ImpossibleBarsAreLeftOut) {
  const auto problem = [](auto change) {
    FakeConfig config;
    change(config.add(kDevice, 0x8086, 1));
    return problems_of(*probe(config, kDevice));
  };
  EXPECT_EQ(problem([](FakeFunction& f) { f.memory_bar(5, 0, 0x1000, 4); }), "64-bit BAR in the last place;");
  EXPECT_EQ(problem([](FakeFunction& f) { f.writable[4] = 0xf0f00000; }), "BAR of impossible size;");
  EXPECT_EQ(problem([](FakeFunction& f) { f.memory_bar(0, 0, 0x1000, 6); }), "BAR of reserved type;");
  EXPECT_EQ(problem([](FakeFunction& f) {
              f.words[4] = 0x10001;
              f.writable[4] = 0xfffffff0;
            }),
            "I/O BAR above 64 KiB;");
}

TEST(Pci, BadCapabilityListsEnd) {
  const auto problem = [](auto change) {
    FakeConfig config;
    FakeFunction& f = config.add(kDevice, 0x8086, 1);
    f.set8(6, 0x10);
    f.set8(0x34, 0x40);
    f.set32(0x40, 0x5001);
    change(f);
    return problems_of(*probe(config, kDevice));
  };
  EXPECT_EQ(problem([](FakeFunction&) {}), "");
  EXPECT_EQ(problem([](FakeFunction& f) { f.set32(0x50, 0x4001); }), "capability list loops;");
  EXPECT_EQ(problem([](FakeFunction& f) { f.set32(0x40, 0x4001); }), "capability list loops;");
  EXPECT_EQ(problem([](FakeFunction& f) { f.set32(0x50, 0x1001); }), "capability inside the header;");
  EXPECT_EQ(problem([](FakeFunction& f) { f.set32(0x50, ~0u); }), "capability list ends in nothing;");
  EXPECT_EQ(problem([](FakeFunction& f) { f.set8(0x34, 0x04); }), "capability inside the header;");
  EXPECT_EQ(problem([](FakeFunction& f) { f.set32(0x50, 0xfc11), f.set32(0xfc, 0x11); }),
            "MSI-X table outside its BAR;malformed MSI-X capability;");
  EXPECT_EQ(problem([](FakeFunction& f) { f.set32(0x50, 0x000e0005); }), "malformed MSI capability;");
}

TEST(Pci, ReadsMsi) {
  FakeConfig config;
  FakeFunction& f = config.add(kDevice, 0x8086, 1);
  f.set8(6, 0x10);
  f.set8(0x34, 0x40);
  f.set32(0x40, 0x01860005);
  const Function found = *probe(config, kDevice);
  ASSERT_TRUE(found.msi.has_value());
  EXPECT_EQ(found.msi->vectors, 8);
  EXPECT_TRUE(found.msi->is_64_bit);
  EXPECT_TRUE(found.msi->maskable);
}

TEST(Pci, StructuresOutsideTheirBarAreLeftOut) {
  const auto changed = [](auto change) {
    FakeConfig config;
    change(add_virtio(&config));
    return *probe(config, kDevice);
  };
  EXPECT_FALSE(changed([](FakeFunction& f) { f.set32(0x9c, 0x1000 | 1); }).msix.has_value());
  EXPECT_FALSE(changed([](FakeFunction& f) { f.set32(0x9c, 0x0ff0 | 1); }).msix.has_value());
  EXPECT_FALSE(changed([](FakeFunction& f) { f.set32(0x9c, 7); }).msix.has_value());
  EXPECT_FALSE(changed([](FakeFunction& f) { f.set32(0x9c, 0); }).msix.has_value());
  EXPECT_FALSE(changed([](FakeFunction& f) { f.set32(0xa0, 0xfffffff8 | 1); }).msix.has_value());
  EXPECT_FALSE(changed([](FakeFunction& f) { f.set32(0x98, 0x7ffu << 16 | 0x8411); }).msix.has_value());
  EXPECT_EQ(changed([](FakeFunction& f) { f.set32(0x44, 6); }).virtio.size(), 4u);
  EXPECT_EQ(changed([](FakeFunction& f) { f.set32(0x44, 5); }).virtio.size(), 4u);
  EXPECT_EQ(changed([](FakeFunction& f) { f.set32(0x48, 0x3001); }).virtio.size(), 4u);
  EXPECT_EQ(changed([](FakeFunction& f) { f.set32(0x48, ~0u); }).virtio.size(), 4u);
  EXPECT_EQ(changed([](FakeFunction& f) { f.set32(0x4c, 0); }).virtio.size(), 4u);
  EXPECT_EQ(problems_of(changed([](FakeFunction& f) { f.set8(0x42, 15); })), "malformed virtio capability;");
  EXPECT_EQ(problems_of(changed([](FakeFunction& f) { f.set8(0x43, 77); })), "");
}

TEST(Pci, WalksBridgesAndFunctions) {
  FakeConfig config;
  const auto bridge = [&](Address address, u8 secondary, u8 subordinate) {
    config.add(address, 0x1b36, 0x000c, 1).set32(0x18, address.bus | u32{secondary} << 8 | u32{subordinate} << 16);
  };
  config.add({0, 0, 0}, 0x8086, 0x29c0);
  config.add({0, 31, 0}, 0x8086, 0x2918, 0x80);
  config.add({0, 31, 2}, 0x8086, 0x2922);
  config.add({0, 1, 3}, 0x8086, 1);  // hidden: no function 0
  config.add({0, 2, 1}, 0x8086, 2);  // hidden: function 0 is single
  config.add({0, 2, 0}, 0x8086, 3);
  bridge({0, 4, 0}, 1, 2);
  bridge({1, 0, 0}, 2, 2);
  config.add({2, 0, 0}, 0x1af4, 0x1041);
  List list;
  enumerate(config, 0, 255, list);
  std::string all;
  for (const Function& f : list.found) {
    all += std::to_string(f.address.bus) + ":" + std::to_string(f.address.device) + "." +
           std::to_string(f.address.function) + " ";
    EXPECT_EQ(problems_of(f), "");
  }
  EXPECT_EQ(all, "0:0.0 0:2.0 0:4.0 0:31.0 0:31.2 1:0.0 2:0.0 ");
}

TEST(Pci, BridgesCannotLoop) {
  FakeConfig config;
  const auto bridge = [&](Address address, u8 secondary) {
    config.add(address, 1, 1, 1).set32(0x18, u32{secondary} << 8);
  };
  bridge({0, 1, 0}, 5);
  bridge({0, 2, 0}, 5);  // the same bus twice
  bridge({0, 3, 0}, 0);  // not configured
  bridge({5, 0, 0}, 0);
  bridge({5, 1, 0}, 5);    // itself
  bridge({5, 2, 0}, 1);    // back
  bridge({5, 3, 0}, 200);  // beyond the window
  List list;
  enumerate(config, 0, 100, list);
  EXPECT_EQ(list.found.size(), 7u);
  usize complaints = 0;
  for (const Function& f : list.found) complaints += f.problems.size();
  EXPECT_EQ(complaints, 4u);
  EXPECT_LT(config.accesses, 1000u);
}

TEST(Pci, AddressInTheEcamWindow) { EXPECT_EQ((Address{1, 2, 3}.ecam_offset()), 0x113000u); }

}  // namespace
}  // namespace keel::pci
