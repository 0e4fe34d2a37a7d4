// The first process, the service manager: started from the boot image, and given a successor in the same capability
// space when it dies. Every other process is started by it or by what it started.
#include <string.h>

#include <arch/memory.h>

#include "kernel/core/machine.h"
#include "kernel/mm/address_space.h"
#include "kernel/mm/memory_object.h"
#include "kernel/platform/boot_options.h"

namespace keel {
namespace {

constexpr u64 kStackPages = 16;
constexpr u64 kStatePages = 16;
constexpr u32 kManagerLevel = kHighLevel;
constexpr u32 kMaxRestarts = 10;  // within kRestartWindowNs: then it is given up
constexpr u64 kRestartWindowNs = 10'000'000'000;

u64 pages_of(u64 bytes) { return (bytes + kPageSize - 1) / kPageSize; }

bool is_valid(const BootImageHeader& h, u64 module_bytes) {
  if (h.segment_count == 0 || h.segment_count > kMaxBootSegments || h.span == 0 || h.span > u64{1} << 30) return false;
  if (!is_aligned(h.archive_offset, kPageSize) || h.archive_offset > module_bytes ||
      h.archive_bytes > module_bytes - h.archive_offset) {
    return false;
  }
  if (h.symbols_offset > module_bytes || h.symbols_bytes > module_bytes - h.symbols_offset) return false;
  bool entry_found = false;
  for (u32 i = 0; i < h.segment_count; ++i) {
    const BootSegment& s = h.segments[i];
    if (!is_aligned(s.offset | s.address | s.bytes, kPageSize) || s.bytes == 0 || s.file_bytes > s.bytes) return false;
    if (s.offset > module_bytes || s.file_bytes > module_bytes - s.offset) return false;
    if (s.address > h.span || s.bytes > h.span - s.address) return false;
    if (s.write > 1 || s.execute > 1 || (s.write & s.execute) != 0) return false;
    if (s.write == 0 && pages_of(s.file_bytes) * kPageSize != s.bytes) return false;
    if (s.execute == 1 && h.entry >= s.address && h.entry < s.address + s.file_bytes) entry_found = true;
  }
  return entry_found;
}

}  // namespace

Result<void> Machine::copy_segment(Cpu& cpu, MemoryObject& memory, const BootSegment& segment) {
  for (u64 at = 0; at < segment.file_bytes; at += kPageSize) {
    PhysAddr page = TRY(memory.page(cpu, at / kPageSize, Access::write));
    const u64 rest = segment.file_bytes - at;
    memcpy(phys_to_virt(page), phys_to_virt(manager_.module.base + (segment.offset + at)),
           rest < kPageSize ? rest : kPageSize);
  }
  return {};
}

// Maps the image, a stack and the start block into the manager's (fresh) address space and starts its thread.
Result<void> Machine::load_manager(Cpu& cpu, Process& manager) {
  AddressSpace& space = *manager.space();
  const BootImageHeader& image = manager_.image;
  // The kernel chooses a place for the whole span by mapping it once, and then fills it in.
  auto span = TRY(MemoryObject::create_anonymous(cpu, manager.group(), image.span / kPageSize));
  VirtAddr base = TRY(space.map(
      cpu, {.memory = *span, .pages = image.span / kPageSize, .prot = Protection::none, .max = Protection::none}));
  for (Progress p; !p.finished;) p = TRY(space.unmap(cpu, base, image.span));
  for (u32 i = 0; i < image.segment_count; ++i) {
    const BootSegment& s = image.segments[i];
    const u64 pages = s.bytes / kPageSize;
    const Protection prot = s.write != 0     ? Protection::read_write
                            : s.execute != 0 ? Protection::read_execute
                                             : Protection::read;
    RefPtr<MemoryObject> memory;
    if (s.write != 0) {
      memory = TRY(MemoryObject::create_anonymous(cpu, manager.group(), pages));
      TRY(copy_segment(cpu, *memory, s));
    } else {
      memory = TRY(MemoryObject::create_boot_module(cpu, manager.group(), manager_.module.base + s.offset, pages));
    }
    TRY(space.map(
        cpu, {.memory = *memory, .pages = pages, .prot = prot, .max = prot, .at = base + s.address, .fixed = true}));
  }
  auto stack = TRY(MemoryObject::create_anonymous(cpu, manager.group(), kStackPages));
  VirtAddr stack_at = TRY(space.map(
      cpu, {.memory = *stack, .pages = kStackPages, .prot = Protection::read_write, .max = Protection::read_write}));

  auto thread = TRY(Thread::create(cpu, manager, kManagerLevel));
  // The capabilities that belong to this life of the process replace those of the last.
  (void)manager.caps.remove(cpu, manager_.thread);
  (void)manager.caps.remove(cpu, manager_.space);
  manager_.thread = TRY(manager.caps.insert_root(cpu, *thread, all_rights(ObjectKind::thread), 0));
  manager_.space = TRY(manager.caps.insert_root(cpu, space, all_rights(ObjectKind::address_space), 0));

  auto block_memory = TRY(MemoryObject::create_anonymous(cpu, manager.group(), 1));
  auto* bytes = static_cast<char*>(phys_to_virt(TRY(block_memory->page(cpu, 0, Access::write))));
  auto* block = new (bytes) StartBlock();
  block->magic = kStartMagic;
  block->version = kStartVersion;
  memcpy(block->name, "manager", 7);
  block->image_base = base.value;
  auto* list = static_cast<StartCapability*>(static_cast<void*>(bytes + sizeof(StartBlock)));
  const auto add = [&](const char* name, CapIndex index) {
    StartCapability& entry = list[block->capability_count++];
    for (u32 i = 0; i < kStartNameBytes && name[i] != 0; ++i) entry.name[i] = name[i];
    entry.index = index.value;
  };
  for (u32 i = 0; i < manager_.capability_count; ++i) {
    list[block->capability_count++] = manager_.capabilities[i];
  }
  add("self.thread", manager_.thread);
  add("self.space", manager_.space);
  char* arguments = bytes + sizeof(StartBlock) + block->capability_count * sizeof(StartCapability);
  const auto argument = [&](std::string_view text) {
    memcpy(arguments + block->argument_bytes, text.data(), text.size());
    block->argument_bytes += u32(text.size()) + 1;
    ++block->argument_count;
  };
  char text[64];
  argument("manager");
  argument(format_to(text, "rsdp={:#x}", manager_.rsdp.value));
  argument(format_to(text, "restarts={}", manager_.restarts));
  argument(format_to(text, "archive={}", manager_.image.archive_bytes));
  argument(format_to(text, "test={}", manager_.test));
  block->bytes = u32(arguments - bytes) + block->argument_bytes;
  VirtAddr block_at =
      TRY(space.map(cpu, {.memory = *block_memory, .pages = 1, .prot = Protection::read, .max = Protection::read}));

  thread->start(cpu, (base + image.entry).value, (stack_at + kStackPages * kPageSize).value, block_at.value,
                thread->message_page_user.value);
  return {};
}

// The capabilities that the manager has for all its lives.
Result<void> Machine::grant_manager(Cpu& cpu, Process& manager, const BootInfo& boot) {
  const auto grant = [&](const char* name, KObject& object, u64 scope = 0) -> Result<void> {
    StartCapability& entry = manager_.capabilities[manager_.capability_count++];
    for (u32 i = 0; i < kStartNameBytes && name[i] != 0; ++i) entry.name[i] = name[i];
    entry.index = TRY(manager.caps.insert_root(cpu, object, all_rights(object.kind()), scope)).value;
    audit(cpu, AuditEvent::grant, 0, manager.id(), object, all_rights(object.kind()));
    return {};
  };
  ResourceGroup& group = root_group_;
  const u64 archive_pages = pages_of(manager_.image.archive_bytes);
  auto archive = TRY(MemoryObject::create_boot_module(cpu, group, boot.module.base + manager_.image.archive_offset,
                                                      archive_pages == 0 ? 1 : archive_pages));
  auto physical = TRY(MemoryObject::create_physical(cpu, group, PhysAddr(0), u64{1} << 28, CacheMode::uncached));
  auto time = TRY(MemoryObject::create_boot_module(cpu, group, time_page_address, 1));
  auto state = TRY(MemoryObject::create_anonymous(cpu, group, kStatePages));
  TRY(grant("self.process", manager));
  TRY(grant("self.group", root_group_));
  TRY(grant("control", kernel_control_));
  TRY(grant("sealer", sealer_));
  TRY(grant("initrd", *archive));
  TRY(grant("physical", *physical));
  TRY(grant("irq", interrupt_control_));
  TRY(grant("io", io_ports_));
  TRY(grant("time", *time));
  TRY(grant("state", *state));
  return {};
}

Result<void> Machine::start_manager(Cpu& cpu, const BootInfo& boot) {
  if (boot.module.length < kPageSize || !is_aligned(boot.module.base.value, kPageSize)) return Status::not_found;
  manager_.module = boot.module;
  manager_.rsdp = boot.rsdp;
  manager_.test = boot_option_number(boot.command_line(), "test").value_or(0);
  memcpy(&manager_.image, phys_to_virt(boot.module.base), sizeof(BootImageHeader));
  if (manager_.image.magic != kBootImageMagic) return Status::corrupt;
  if (manager_.image.version != kBootImageVersion) return Status::version_mismatch;
  if (!is_valid(manager_.image, boot.module.length)) return Status::corrupt;
  symbols = {static_cast<const std::byte*>(phys_to_virt(boot.module.base + manager_.image.symbols_offset)),
             manager_.image.symbols_bytes};
  auto manager = TRY(Process::create(cpu, root_group_, ProcessName{"manager"}));
  manager->keep_capabilities = true;
  TRY(grant_manager(cpu, *manager, boot));
  TRY(load_manager(cpu, *manager));
  first_user_tsc = cpu.now_tsc();
  return {};
}

void Machine::restart_manager(Cpu& cpu, Process& manager) {
  const u64 now = cpu.now_ns();
  if (manager_.restarts == 0 || now - manager_.first_restart_ns > kRestartWindowNs) {
    manager_.first_restart_ns = now;
    manager_.restarts_in_window = 0;
  }
  ++manager_.restarts;
  if (++manager_.restarts_in_window > kMaxRestarts) {
    log_format(cpu, LogLevel::error, "the service manager died {} times in {} s and is given up",
               manager_.restarts_in_window, kRestartWindowNs / 1'000'000'000);
    return;
  }
  Result<RefPtr<AddressSpace>> space = AddressSpace::create(cpu, manager.group(), random.next(cpu));
  Result<void> loaded = space.status();
  if (space.has_value()) {
    manager.space_ = std::move(*space);
    manager.state_.store(ProcessState::fresh, kRelaxed);
    loaded = load_manager(cpu, manager);
  }
  if (loaded.has_value()) {
    log_format(cpu, LogLevel::notice, "manager: restarted by the kernel (status of the last one: {:#x})",
               manager.exit_status());
  } else {
    log_format(cpu, LogLevel::error, "manager: cannot be restarted: {}", loaded.status());
  }
}

}  // namespace keel
