/* A QEMU plugin that counts, independently of the guest's clock, what a measured operation costs and one instruction a piece
 * does not tell: between any two reads of the time stamp counter by user code, how many instructions ran, and how many of them
 * were locked, fences, writes to control or model-specific registers, or accesses to device registers of the kernel.
 *
 * At the end it writes to the file `out=` a line for each pair of such reads that occurred often enough, in the order in which
 * the pairs first occurred: addresses of both, occurrences, the most frequent count of instructions and of the costly ones.
 * tools/bench builds and reads it. QEMU's header is in no package here, so what is used of version 1 is declared below. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_CB_NO_REGS = 0, QEMU_PLUGIN_INLINE_ADD_U64 = 0, QEMU_PLUGIN_MEM_RW = 3 };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int flags, void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int op, void *, uint64_t);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, void (*)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *),
                                      int flags, int rw, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { PAIRS = 1024, VALUES = 512, OFTEN = 50 };
static const uint64_t user_end = (uint64_t)1 << 47;
static const uint64_t mmio_begin = 0xffffe80000000000, mmio_end = 0xfffff00000000000; /* arch/memory.h, kMmioWindow */

static struct pair {
  uint64_t from, to, seen;
  uint32_t instructions[VALUES], costly[VALUES];
} pairs[PAIRS];
static unsigned pair_count;
static uint64_t instructions, costly; /* so far */
static uint64_t last_read, instructions_then, costly_then;
static char out[1024];

static void clock_read(unsigned cpu, void *address) {
  (void)cpu;
  uint64_t at = (uint64_t)address;
  if (last_read != 0) {
    unsigned i = 0;
    while (i < pair_count && (pairs[i].from != last_read || pairs[i].to != at)) ++i;
    if (i == pair_count && pair_count < PAIRS) {
      pairs[i].from = last_read;
      pairs[i].to = at;
      ++pair_count;
    }
    if (i < PAIRS) {
      uint64_t n = instructions - instructions_then, c = costly - costly_then;
      ++pairs[i].seen;
      ++pairs[i].instructions[n < VALUES ? n : VALUES - 1];
      ++pairs[i].costly[c < VALUES ? c : VALUES - 1];
    }
  }
  last_read = at;
  instructions_then = instructions;
  costly_then = costly;
}

static void touched(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *unused) {
  (void)cpu, (void)info, (void)unused;
  if (address >= mmio_begin && address < mmio_end) ++costly;
}

/* Intel SDM vol. 2. Prefixes come first; the ModRM byte tells memory (top bits not 3) from registers. */
static int is_costly(const uint8_t *code, size_t size) {
  size_t i = 0;
  for (; i < size; ++i) {
    if (code[i] == 0xf0) return 1; /* LOCK */
    if (code[i] != 0x66 && code[i] != 0xf2 && code[i] != 0xf3 && (code[i] & 0xf0) != 0x40) break;
  }
  if (i + 1 >= size) return 0;
  uint8_t next = code[i + 1];
  if (code[i] == 0x86 || code[i] == 0x87) return next < 0xc0; /* XCHG with memory */
  if (code[i] != 0x0f) return 0;
  if (next == 0x22 || next == 0x30) return 1; /* MOV to CR, WRMSR */
  int repeated = i > 0 && memchr(code, 0xf3, i) != NULL;
  return next == 0xae && i + 2 < size && code[i + 2] >= 0xe8 && !repeated; /* LFENCE, MFENCE, SFENCE */
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); ++i) {
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
    const uint8_t *code = qemu_plugin_insn_data(insn);
    size_t size = qemu_plugin_insn_size(insn);
    uint64_t address = qemu_plugin_insn_vaddr(insn);
    int user = address < user_end;
    qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &instructions, 1);
    if (is_costly(code, size))
      qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &costly, 1);
    if (!user) qemu_plugin_register_vcpu_mem_cb(insn, touched, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
    if (user && size == 2 && code[0] == 0x0f && code[1] == 0x31) /* RDTSC */
      qemu_plugin_register_vcpu_insn_exec_cb(insn, clock_read, QEMU_PLUGIN_CB_NO_REGS, (void *)address);
  }
}

static unsigned most_frequent(const uint32_t *counts) {
  unsigned best = 0;
  for (unsigned i = 0; i < VALUES; ++i) {
    if (counts[i] > counts[best]) best = i;
  }
  return best;
}

static void finished(qemu_plugin_id_t id, void *unused) {
  (void)id, (void)unused;
  FILE *file = fopen(out, "w");
  if (file == NULL) return;
  for (unsigned i = 0; i < pair_count; ++i) {
    const struct pair *p = &pairs[i];
    if (p->seen >= OFTEN)
      fprintf(file, "%lx %lx %lu %u %u\n", p->from, p->to, p->seen, most_frequent(p->instructions), most_frequent(p->costly));
  }
  fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count,
                                                               char **arguments) {
  (void)info;
  if (count != 1 || strncmp(arguments[0], "out=", 4) != 0 || strlen(arguments[0]) >= sizeof(out)) return -1;
  strcpy(out, arguments[0] + 4);
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, finished, NULL);
  return 0;
}
