#include "user/drivers/devmgr/acpi.h"

#include <gtest/gtest.h>

#include "base/acpi_test_memory.h"

namespace keel::acpi {
namespace {

constexpr u64 kRsdp = 0xf0000;

std::string s5(const std::string& elements, const std::string& name = "\x08_S5_") {
  const std::string package = std::string(1, static_cast<char>(elements.size() + 2)) + '\x04' + elements;
  return name + '\x12' + package;
}

std::string gas(u8 space, u8 width, u64 address) { return packed(space, width, u8{0}, u8{0}, address); }

std::string fadt_body(usize length) {
  std::string f(length, '\0');
  const auto put = [&](usize offset, const std::string& s) {
    if (offset + s.size() <= length + 36) f.replace(offset - 36, s.size(), s);
  };
  put(40, packed(u32{0x4000}));
  put(46, packed(u16{9}));
  put(48, packed(u32{0xb2}));
  put(52, packed(u8{2}));
  put(56, packed(u32{0x600}));
  put(64, packed(u32{0x604}));
  put(76, packed(u32{0x608}));
  put(88, packed(u8{4}, u8{2}));
  put(91, packed(u8{4}));
  put(108, packed(u8{0x32}, u16{2}));
  put(112, packed(u32{1u << 10 | 1u << 8}));
  put(116, gas(1, 8, 0xcf9));
  put(128, packed(u8{0x0f}));
  return f;
}

FakeMemory machine(const std::string& fadt, const std::string& dsdt, const std::string& ssdt = "x") {
  FakeMemory memory;
  memory.table(0x1000, "XSDT", 1, packed(u64{0x2000}, u64{0x3000}, u64{0x10000}));
  memory.table(0x2000, "FACP", 6, fadt);
  memory.table(0x3000, "MCFG", 1,
               packed(u64{0}) + packed(u64{0xb0000000}, u16{0}, u8{0}, u8{255}, u32{0}) +
                   packed(u64{0x100000000}, u16{1}, u8{16}, u8{31}, u32{0}));
  memory.table(0x4000, "DSDT", 2, dsdt);
  memory.table(0x10000, "SSDT", 2, ssdt);
  memory.rsdp(kRsdp, 2, 0x1000);
  return memory;
}

TEST(DevmgrAcpi, ReadsMcfg) {
  FakeMemory memory = machine(fadt_body(240), "");
  const EcamSegments segments = *read_mcfg(*Tables::open(memory, PhysAddr(kRsdp)));
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_EQ(segments[0].address.value, 0xb0000000u);
  EXPECT_EQ(segments[0].last_bus, 255);
  EXPECT_EQ(segments[1].segment, 1);
  EXPECT_EQ(segments[1].first_bus, 16);
}

TEST(DevmgrAcpi, RefusesDamagedMcfg) {
  for (const std::string& entry :
       {packed(u64{0}, u16{0}, u8{0}, u8{1}, u32{0}), packed(u64{0xb0001000}, u16{0}, u8{0}, u8{1}, u32{0}),
        packed(u64{0xb0000000}, u16{0}, u8{2}, u8{1}, u32{0}), packed(~u64{0} << 20, u16{0}, u8{0}, u8{1}, u32{0})}) {
    FakeMemory memory = machine(fadt_body(240), "");
    memory.table(0x3000, "MCFG", 1, packed(u64{0}) + entry);
    EXPECT_EQ(read_mcfg(*Tables::open(memory, PhysAddr(kRsdp))).status(), Status::corrupt);
  }
}

TEST(DevmgrAcpi, ReadsPowerControlOfOldAndNewTables) {
  for (const usize length : {116u - 36, 129u - 36, 240u}) {
    FakeMemory memory = machine(fadt_body(length), "junk" + s5("\x0a\x05\x0a\x05\x00\x00"));
    const Result<PowerControl> result = read_fadt(*Tables::open(memory, PhysAddr(kRsdp)));
    ASSERT_TRUE(result.has_value());
    const PowerControl& power = *result;
    EXPECT_EQ(power.sci_interrupt, 9);
    EXPECT_EQ(power.smi_command_port, 0xb2);
    EXPECT_EQ(power.pm1a_control.address, 0x604u);
    EXPECT_EQ(power.pm1a_control.bit_width, 16);
    EXPECT_FALSE(power.pm1b_control.present());
    EXPECT_EQ(power.pm_timer.address, 0x608u);
    EXPECT_TRUE(power.pm_timer_is_32_bit);
    EXPECT_TRUE(power.has_8042);
    EXPECT_EQ(power.century_index, 0x32);
    EXPECT_EQ(power.reset_register.has_value(), length >= 129 - 36);
    ASSERT_TRUE(power.soft_off.has_value());
    EXPECT_EQ(power.soft_off->a, 5);
    EXPECT_EQ(PowerControl::power_off_value(5), 0x3400);
  }
}

TEST(DevmgrAcpi, ExtendedRegistersWin) {
  std::string fadt = fadt_body(240);
  fadt.replace(172 - 36, 12, gas(0, 16, 0xfed80804));
  FakeMemory memory = machine(fadt, "");
  const PowerControl power = *read_fadt(*Tables::open(memory, PhysAddr(kRsdp)));
  EXPECT_EQ(power.pm1a_control.address, 0xfed80804u);
  EXPECT_EQ(power.pm1a_control.space, Register::Space::memory);
  EXPECT_FALSE(power.soft_off.has_value());
}

std::optional<SleepType> soft_off(const std::string& dsdt, const std::string& ssdt = "x") {
  FakeMemory memory = machine(fadt_body(240), dsdt, ssdt);
  return read_fadt(*Tables::open(memory, PhysAddr(kRsdp)))->soft_off;
}

TEST(DevmgrAcpi, FindsSoftOffInItsForms) {
  EXPECT_EQ(soft_off(s5(std::string("\x00\x00\x00\x00", 4)))->a, 0);
  EXPECT_EQ(soft_off(s5(std::string("\x01\x0a\x07\x00\x00", 5)))->b, 7);
  EXPECT_EQ(soft_off(s5(std::string("\x0b\x05\x00\x0c\x06\x00\x00\x00", 8)))->b, 6);
  EXPECT_EQ(soft_off(s5("\x0a\x05\x0a\x05", std::string("\x08\\_S5_")))->a, 5);
  EXPECT_EQ(soft_off(std::string("\x08_S5_\x12\x47\x00\x04\x0a\x05\x0a\x05", 13))->a, 5);  // PkgLength of two bytes
  EXPECT_EQ(soft_off("", s5("\x0a\x03\x0a\x03"))->a, 3);                                   // in an SSDT
  EXPECT_FALSE(soft_off("_S5_\x12\x06\x04\x0a\x05\x0a\x05").has_value());                  // a reference, no name
  EXPECT_FALSE(soft_off(s5("\x0a\x08\x0a\x05")).has_value());                              // no three-bit number
  EXPECT_FALSE(soft_off(s5("\x0a")).has_value());                                          // cut off
  EXPECT_FALSE(soft_off(std::string("\x08_S5_")).has_value());
  for (usize before = 440; before < 560; ++before) {  // across the border of the windows
    EXPECT_TRUE(soft_off(std::string(before, 'a') + s5("\x0a\x05\x0a\x05")).has_value()) << before;
  }
}

TEST(DevmgrAcpi, RefusesImpossiblePorts) {
  std::string fadt = fadt_body(240);
  fadt.replace(64 - 36, 4, packed(u32{0x10000}));
  FakeMemory memory = machine(fadt, "");
  EXPECT_EQ(read_fadt(*Tables::open(memory, PhysAddr(kRsdp))).status(), Status::corrupt);
  FakeMemory short_table = machine(fadt_body(60), "");
  EXPECT_EQ(read_fadt(*Tables::open(short_table, PhysAddr(kRsdp))).status(), Status::corrupt);
}

}  // namespace
}  // namespace keel::acpi
