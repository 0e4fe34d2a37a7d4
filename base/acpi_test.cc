#include "base/acpi.h"

#include <gtest/gtest.h>

#include "base/acpi_test_memory.h"

namespace keel::acpi {
namespace {

constexpr u64 kRsdp = 0xf0010;

struct Recorder final : MadtVisitor {
  void local_apic(const LocalApic& a) override {
    log += "cpu " + std::to_string(a.processor_uid) + "/" + std::to_string(a.apic_id) + (a.enabled ? " on" : " off") +
           (a.online_capable ? " capable" : "") + "\n";
  }
  void io_apic(const IoApic& a) override {
    log +=
        "io " + std::to_string(a.id) + " " + std::to_string(a.address.value) + " " + std::to_string(a.first_gsi) + "\n";
  }
  void interrupt_override(const InterruptOverride& o) override {
    log += "irq " + std::to_string(o.source) + "->" + std::to_string(o.gsi) + " " +
           std::to_string(static_cast<int>(o.polarity)) + std::to_string(static_cast<int>(o.trigger)) + "\n";
  }
  void local_apic_nmi(const LocalApicNmi& n) override {
    log += "nmi " + std::to_string(n.processor_uid) + " " + std::to_string(n.lint) + "\n";
  }
  std::string log;
};

std::string madt_entries() {
  return packed(u8{0}, u8{8}, u8{0}, u8{0}, u32{1}) + packed(u8{0}, u8{8}, u8{1}, u8{2}, u32{2}) +
         packed(u8{1}, u8{12}, u8{7}, u8{0}, u32{0xfec00000}, u32{24}) +
         packed(u8{2}, u8{10}, u8{0}, u8{9}, u32{9}, u16{0xd}) + packed(u8{99}, u8{5}, u8{1}, u8{2}, u8{3}) +
         packed(u8{4}, u8{6}, u8{0xff}) + packed(u16{5}, u8{1}) +
         packed(u8{9}, u8{16}, u16{0}, u32{300}, u32{1}, u32{300});
}

// RSDP -> root -> a junk pointer, MADT, HPET.
FakeMemory machine(u8 revision, const std::string& madt = madt_entries()) {
  FakeMemory memory;
  memory.table(0x2000, "APIC", 3, packed(u32{0xfee00000}, u32{1}) + madt);
  memory.table(0x3000, "HPET", 1,
               packed(u32{0x8086a201}, u8{0}, u8{64}, u8{0}, u8{0}, u64{0xfed00000}, u8{0}) + packed(u16{100}, u8{0}));
  if (revision < 2) {
    memory.table(0x1000, "RSDT", 1, packed(u32{0xffffff00}, u32{0}, u32{0x2000}, u32{0x3000}));
  } else {
    memory.table(0x1000, "XSDT", 1, packed(~u64{0}, u64{0x2000}, u64{0x3000}));
  }
  memory.rsdp(kRsdp, revision, 0x1000);
  return memory;
}

TEST(Acpi, FindsTablesThroughBothRevisionsOfTheRsdp) {
  for (const u8 revision : {u8{0}, u8{2}}) {
    FakeMemory memory = machine(revision);
    EXPECT_EQ(Tables::find_rsdp(memory)->value, kRsdp);
    const Tables tables = *Tables::open(memory, PhysAddr(kRsdp));
    EXPECT_EQ(tables.count(), revision < 2 ? 4u : 3u);
    EXPECT_EQ(tables.find("HPET")->address.value, 0x3000u);
    EXPECT_EQ(tables.find("HPET", 1).status(), Status::not_found);
    EXPECT_EQ(tables.find("NONE").status(), Status::not_found);
    EXPECT_EQ(tables.at(tables.count()).status(), Status::not_found);
  }
  FakeMemory empty;
  EXPECT_EQ(Tables::find_rsdp(empty).status(), Status::not_found);
}

TEST(Acpi, FindsAnRsdpInTheEbda) {
  FakeMemory memory;
  memory.put(0x40e, u16{0x9fc0});
  memory.rsdp(0x9fc20, 0, 0x1000);
  EXPECT_EQ(Tables::find_rsdp(memory)->value, 0x9fc20u);
}

TEST(Acpi, WalksTheMadt) {
  FakeMemory memory = machine(2);
  Recorder recorder;
  const MadtInfo info = *walk_madt(*Tables::open(memory, PhysAddr(kRsdp)), recorder);
  EXPECT_EQ(info.local_apic_address.value, 0xfee00000u);
  EXPECT_TRUE(info.has_legacy_pics);
  EXPECT_EQ(recorder.log,
            "cpu 0/0 on\ncpu 1/2 off capable\nio 7 4273995776 24\nirq 9->9 12\nnmi 4294967295 1\ncpu 300/300 on\n");
}

TEST(Acpi, LocalApicAddressOverrideWins) {
  FakeMemory memory = machine(2, packed(u8{5}, u8{12}, u16{0}, u64{0x1234567000}));
  Recorder recorder;
  EXPECT_EQ(walk_madt(*Tables::open(memory, PhysAddr(kRsdp)), recorder)->local_apic_address.value, 0x1234567000u);
}

TEST(Acpi, ReadsTheHpet) {
  FakeMemory memory = machine(2);
  const Hpet hpet = *read_hpet(*Tables::open(memory, PhysAddr(kRsdp)));
  EXPECT_EQ(hpet.address.value, 0xfed00000u);
  EXPECT_EQ(hpet.comparators, 3);
  EXPECT_TRUE(hpet.counter_is_64_bit);
  EXPECT_EQ(hpet.min_periodic_tick, 100);
}

// As `qemu -smp 3 -numa node,cpus=0 -numa node,cpus=1-2 -numa dist,src=0,dst=1,val=21` makes it, with an x2APIC added.
std::string srat_entries() {
  const auto memory = packed(u8{1}, u8{40}, u32{1}) + std::string(34, '\0');
  return packed(u8{0}, u8{16}, u8{0}, u8{0}, u32{1}, u64{0}) + packed(u8{0}, u8{16}, u8{1}, u8{1}, u32{1}, u64{0}) +
         memory + packed(u8{0}, u8{16}, u8{1}, u8{2}, u32{0}, u64{0}) +
         packed(u8{0}, u8{16}, u8{2}, u8{3}, u32{1}, u32{0x01020300}, u32{0}) +
         packed(u8{2}, u8{24}, u16{0}, u32{7}, u32{300}, u32{1}, u64{0}) + packed(u8{77}, u8{2});
}

FakeMemory numa(const std::string& srat, const std::string& slit) {
  FakeMemory memory;
  memory.table(0x2000, "SRAT", 1, packed(u32{1}, u64{0}) + srat);
  memory.table(0x3000, "SLIT", 1, slit);
  memory.table(0x1000, "RSDT", 1, packed(u32{0x2000}, u32{0x3000}));
  memory.rsdp(kRsdp, 0, 0x1000);
  return memory;
}

struct Nodes final : SratVisitor {
  void processor(u32 apic_id, u32 domain) override {
    log += std::to_string(apic_id) + " in " + std::to_string(domain) + "\n";
  }
  std::string log;
};

TEST(Acpi, ReadsWhoIsNearWhom) {
  FakeMemory memory = numa(srat_entries(), packed(u64{2}, u8{10}, u8{21}, u8{22}, u8{10}));
  const Tables tables = *Tables::open(memory, PhysAddr(kRsdp));
  Nodes nodes;
  EXPECT_TRUE(walk_srat(tables, nodes).has_value());
  EXPECT_EQ(nodes.log, "0 in 0\n1 in 1\n3 in 16909058\n300 in 7\n");  // not the one that is off
  const Distances distances = *Distances::open(tables);
  EXPECT_EQ(distances.domains(), 2u);
  EXPECT_EQ(*distances.between(0, 1), 21);
  EXPECT_EQ(*distances.between(1, 0), 22);
  EXPECT_EQ(*distances.between(1, 1), 10);
  EXPECT_EQ(distances.between(2, 0).status(), Status::out_of_range);
  EXPECT_EQ(distances.between(0, 2).status(), Status::out_of_range);
  FakeMemory without = machine(0);
  const Tables none = *Tables::open(without, PhysAddr(kRsdp));
  EXPECT_EQ(walk_srat(none, nodes).status(), Status::not_found);
  EXPECT_EQ(Distances::open(none).status(), Status::not_found);
}

TEST(Acpi, HostileSratAndSlitAreErrors) {
  const auto srat = [](const std::string& entries) {
    FakeMemory memory = numa(entries, packed(u64{0}));
    Nodes nodes;
    return walk_srat(*Tables::open(memory, PhysAddr(kRsdp)), nodes).status();
  };
  EXPECT_EQ(srat(packed(u8{0}, u8{0})), Status::corrupt);                        // would never end
  EXPECT_EQ(srat(packed(u8{0}, u8{16}, u8{0})), Status::corrupt);                // beyond the table
  EXPECT_EQ(srat(packed(u8{0}, u8{8}, u8{0}, u8{0}, u32{1})), Status::corrupt);  // too short for its type
  EXPECT_EQ(srat(packed(u8{2}, u8{16}, u16{0}, u64{0}, u32{1})), Status::corrupt);
  EXPECT_EQ(srat(packed(u8{0})), Status::corrupt);
  const std::string good = srat_entries();
  for (usize length = 0; length < good.size(); ++length) (void)srat(good.substr(0, length));
  const auto slit = [](const std::string& body) {
    FakeMemory memory = numa("", body);
    return Distances::open(*Tables::open(memory, PhysAddr(kRsdp))).status();
  };
  EXPECT_EQ(slit(""), Status::corrupt);
  EXPECT_EQ(slit(packed(u32{2})), Status::corrupt);
  EXPECT_EQ(slit(packed(u64{2}, u8{10}, u8{20}, u8{20})), Status::corrupt);
  EXPECT_EQ(slit(packed(~u64{0})), Status::corrupt);
  EXPECT_EQ(slit(packed(u64{1} << 32)), Status::corrupt);  // its square is 0
  EXPECT_EQ(slit(packed(u64{0})), Status::ok);
  FakeMemory memory = numa("", packed(u64{2}, u8{11}, u8{9}, u8{255}, u8{10}));
  const Distances odd = *Distances::open(*Tables::open(memory, PhysAddr(kRsdp)));
  EXPECT_EQ(odd.between(0, 0).status(), Status::corrupt);
  EXPECT_EQ(odd.between(0, 1).status(), Status::corrupt);
  EXPECT_EQ(*odd.between(1, 0), 255);
}

TEST(Acpi, DamageIsAnError) {
  const auto madt = [](const std::string& entries) {
    FakeMemory memory = machine(2, entries);
    Recorder recorder;
    return walk_madt(*Tables::open(memory, PhysAddr(kRsdp)), recorder).status();
  };
  EXPECT_EQ(madt(packed(u8{0}, u8{0})), Status::corrupt);  // would never end
  EXPECT_EQ(madt(packed(u8{0}, u8{1})), Status::corrupt);
  EXPECT_EQ(madt(packed(u8{0}, u8{8}, u8{0})), Status::corrupt);   // beyond the table
  EXPECT_EQ(madt(packed(u8{1}, u8{4}, u16{0})), Status::corrupt);  // too short for its type
  EXPECT_EQ(madt(packed(u8{2})), Status::corrupt);
  EXPECT_EQ(madt(packed(u8{2}, u8{10}, u8{1}, u8{9}, u32{9}, u16{0})), Status::corrupt);

  const auto damaged = [](u64 address, auto value) {
    FakeMemory memory = machine(2);
    memory.put(address, value);
    const Result<Tables> tables = Tables::open(memory, PhysAddr(kRsdp));
    return tables.has_value() ? tables->find("APIC").status() : tables.status();
  };
  EXPECT_EQ(damaged(kRsdp, u8{'r'}), Status::corrupt);
  EXPECT_EQ(damaged(kRsdp + 9, u8{1}), Status::corrupt);
  EXPECT_EQ(damaged(kRsdp + 20, u32{1000}), Status::corrupt);
  EXPECT_EQ(damaged(kRsdp + 33, u8{1}), Status::corrupt);
  EXPECT_EQ(damaged(0x1000, u8{'Y'}), Status::corrupt);
  EXPECT_EQ(damaged(0x1004, u32{35}), Status::corrupt);
  EXPECT_EQ(damaged(0x1004, ~u32{0}), Status::corrupt);
  EXPECT_EQ(damaged(0x2000 + 60, u8{0x55}), Status::corrupt);
  EXPECT_EQ(damaged(0x2004, u32{0xffffff}), Status::bad_address);
}

}  // namespace
}  // namespace keel::acpi
