// QEMU (TCG) plugin: the longest stretches that each CPU spent in the kernel, in instructions. The kernel runs with interrupts off, from
// an entry to HLT, IRETQ or SYSRETQ; so a stretch is a run of instructions at kernel addresses. It counts
// independently of the guest, which pays nothing for it. Nothing is counted before the first instruction in user mode.
//
// Prints, at the end: `irqs_off_max N` and for the longest stretch which parts of the kernel it was in (address, instructions).
//
// The six functions of QEMU 7.2's plugin interface that it uses are declared here: Debian ships no header.
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned int, void *), enum qemu_plugin_cb_flags, void *);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*)(qemu_plugin_id_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern void qemu_plugin_outs(const char *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { kCpus = 64, kRegions = 4096, kShown = 12 };
// What one translation block is: its address, how many instructions, whether user mode, whether it ends in HLT, IRETQ or
// SYSRETQ.
struct block {
  uint64_t address;
  uint32_t instructions;
  bool user;
  bool leaves;
};
struct region {
  uint64_t address;
  uint64_t instructions;
};
struct stretch {
  uint64_t instructions;
  struct region regions[kRegions];  // by block, hashed
};
static struct stretch now[kCpus], longest;
static uint32_t used[kCpus][kRegions], used_count[kCpus];
static bool started;

static void forget(unsigned cpu) {
  for (uint32_t i = 0; i < used_count[cpu]; ++i) now[cpu].regions[used[cpu][i]] = (struct region){0, 0};
  used_count[cpu] = 0;
  now[cpu].instructions = 0;
}

static void end_stretch(unsigned cpu) {
  if (started && now[cpu].instructions > longest.instructions) longest = now[cpu];
  forget(cpu);
}

static void executed(unsigned cpu, void *data) {
  const struct block *b = data;
  if (b->user) {
    if (now[cpu].instructions != 0) end_stretch(cpu);
    started = true;
    return;
  }
  now[cpu].instructions += b->instructions;
  const uint32_t at = (b->address >> 4) % kRegions;
  struct region *r = &now[cpu].regions[at];
  if (r->instructions == 0) used[cpu][used_count[cpu]++] = at;
  r->address = b->address;
  r->instructions += b->instructions;
  if (b->leaves) end_stretch(cpu);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  struct block *b = calloc(1, sizeof(*b));
  b->address = qemu_plugin_tb_vaddr(tb);
  b->instructions = (uint32_t)qemu_plugin_tb_n_insns(tb);
  b->user = b->address < UINT64_C(0x0000800000000000) && b->address >= UINT64_C(0x100000000);
  const struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, b->instructions - 1);
  const unsigned char *code = qemu_plugin_insn_data(last);
  const size_t size = qemu_plugin_insn_size(last);
  b->leaves = (size == 1 && code[0] == 0xf4) || (size == 2 && memcmp(code, "\x48\xcf", 2) == 0) ||
              (size == 3 && memcmp(code, "\x48\x0f\x07", 3) == 0);
  qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, b);
}

static int by_instructions(const void *a, const void *b) {
  const struct region *x = a, *y = b;
  return x->instructions < y->instructions ? 1 : x->instructions > y->instructions ? -1 : 0;
}

static void at_exit(qemu_plugin_id_t id, void *data) {
  (void)id, (void)data;
  char line[100];
  snprintf(line, sizeof(line), "irqs_off_max %" PRIu64 "\n", longest.instructions);
  qemu_plugin_outs(line);
  qsort(longest.regions, kRegions, sizeof(longest.regions[0]), by_instructions);
  for (int i = 0; i < kShown && longest.regions[i].instructions != 0; ++i) {
    snprintf(line, sizeof(line), "irqs_off_at %#" PRIx64 " %" PRIu64 "\n", longest.regions[i].address, longest.regions[i].instructions);
    qemu_plugin_outs(line);
  }
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, at_exit, NULL);
  return 0;
}
