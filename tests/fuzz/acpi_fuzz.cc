// ACPI: the input is laid out as tables by hand (checksums put right), then everything is read.
#include <cstdint>
#include <cstdlib>

#include "base/acpi_test_memory.h"
#include "user/drivers/devmgr/acpi.h"

namespace {
struct Counter final : keel::acpi::MadtVisitor {
  void local_apic(const keel::acpi::LocalApic&) override { ++count; }
  keel::u64 count = 0;
};
}  // namespace

// Input: a list of {length: u8 times 4, body}; they become MADT, HPET, MCFG, FACP, DSDT, SSDT, then the RSDP's table.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace keel;        // NOLINT
  using namespace keel::acpi;  // NOLINT
  static FakeMemory memory(0x10000);
  const char* const names[] = {"APIC", "HPET", "MCFG", "FACP", "DSDT", "SSDT"};
  std::string root;
  for (u32 i = 0; i < 6; ++i) {
    const usize wanted = size > 0 ? usize{data[0]} * 4 : 0;
    const usize skip = size > 0 ? 1 : 0;
    const usize length = wanted < size - skip ? wanted : size - skip;
    const u64 address = 0x1000 * (i + 2);
    memory.table(address, names[i], 3, {reinterpret_cast<const char*>(data) + skip, length});
    if (i == 3 && length >= 8) {
      memory.put(address + 40, u32{0x6000});
      memory.fix_sum(address, static_cast<u32>(36 + length), address + 9);
    }
    data += skip + length;
    size -= skip + length;
    root += packed(address);
  }
  root.append(reinterpret_cast<const char*>(data), size < 800 ? size : 800);
  memory.table(0x1000, "XSDT", 1, root);
  memory.rsdp(0x100, 2, 0x1000);
  memory.reads = 0;
  const Result<Tables> tables = Tables::open(memory, PhysAddr(0x100));
  if (!tables.has_value()) std::abort();
  Counter counter;
  (void)walk_madt(*tables, counter);
  (void)read_hpet(*tables);
  (void)read_mcfg(*tables);
  (void)read_fadt(*tables);
  if (memory.reads > 100000) std::abort();
  return 0;
}
