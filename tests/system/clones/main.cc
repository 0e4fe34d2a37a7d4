// Copies of memory that threads on all CPUs write to meanwhile, in this process and in a child: each copy is what the
// original was at one instant, it stays so, and no writer notices. test=N: how many copies.
//
// A writer puts 1, 2, 3, ... into its word of one page after the other, round and round. So at any instant the numbers
// of a round differ by less than there are pages, each lies in its page, and none is missing.
#include <algorithm>

#include "tests/system/report.h"
#include "user/runtime/clock.h"
#include "user/runtime/memory.h"
#include "user/runtime/syscall.h"
#include "user/runtime/thread.h"

using namespace keel;

namespace {

constexpr u64 kPages = 1300;  // several page tables, several radix nodes
constexpr u32 kWriters = 3;   // of this process; the child is one more
constexpr u64 kWords = kPageSize / sizeof(u64);

template <class T>
T need(Result<T> result, const char* what) {
  return report::need(std::move(result), "clones", what);
}
void need(Result<void> result, const char* what) { report::need(result, "clones", what); }
void need_true(bool good, const char* what) { report::need(good ? Status::ok : Status::corrupt, "clones", what); }

// The child: rdi = memory, rsi = pages.
asm(R"(
    .section .rodata
    .balign 64
    .globl clones_writer, clones_writer_end
clones_writer:
    movl $1, %edx
1:  xorl %ecx, %ecx
2:  movq %rcx, %r8
    shlq $12, %r8
    movq %rdx, 24(%rdi, %r8)
    incq %rdx
    incq %rcx
    cmpq %rsi, %rcx
    jne 2b
    jmp 1b
clones_writer_end:
    .text
)");
extern "C" {
[[gnu::visibility("hidden")]] extern const char clones_writer[], clones_writer_end[];
}

struct Writer {
  u64* memory = nullptr;
  u32 word = 0;
  Atomic<u64> rounds{0};
  Atomic<bool> stop{false};
};

void write_on(void* argument) {
  Writer& w = *static_cast<Writer*>(argument);
  for (u64 next = 1; !w.stop.load(kRelaxed);) {
    for (u64 page = 0; page < kPages; ++page, ++next) {
      volatile u64& word = w.memory[page * kWords + w.word];
      need_true(word == (next > kPages ? next - kPages : 0), "a writer finds what it wrote");
      word = next;
    }
    w.rounds.fetch_add(1, kRelaxed);
  }
}

// Whether the writer's words are what it had written at some instant.
bool is_a_state(const u64* memory, u32 word) {
  u64 last = 0;
  for (u64 page = 0; page < kPages; ++page) last = std::max(last, memory[page * kWords + word]);
  if (last == 0) return true;
  const u64 end = (last - 1) % kPages;  // the page of the last number
  for (u64 page = 0; page < kPages; ++page) {
    const u64 back = page <= end ? end - page : end + kPages - page;
    if (memory[page * kWords + word] != (last > back ? last - back : 0)) return false;
  }
  return true;
}

u64 digest(const u64* memory, u32 words) {
  u64 sum = 0;
  for (u64 page = 0; page < kPages; ++page) {
    for (u32 word = 0; word < words; ++word) sum = sum * 31 + memory[page * kWords + word];
  }
  return sum;
}

Cap start_child(CapIndex memory) {
  auto made = need(sys::process_create(self().group, 0x73656e6f6c63, 0, 0), "process_create");
  Cap process(made.process), space(made.space), code;
  Mapping here = need(Mapping::create(1, &code), "code");
  std::memcpy(here.data(), clones_writer, usize(clones_writer_end - clones_writer));
  const u64 entry = need(sys::space_map(space.get(), code.get().value, 0, 1, 5, 0), "map code");
  const u64 at = need(sys::space_map(space.get(), memory.value, 0, kPages, 3, 0), "map memory");
  Cap thread(need(sys::thread_create(process.get(), kNormalLevel), "thread_create").thread);
  need(sys::thread_start(thread.get(), entry, at, at, kPages), "thread_start");
  return process;
}

}  // namespace

int main() {
  const u64 before = need(sys::system_info(find_capability("control")), "system_info").free_pages;
  {
    need(sys::thread_set_level(self().thread, kNormalLevel), "level");
    Cap original;
    Mapping memory = need(Mapping::create(kPages, &original), "memory");
    Writer writers[kWriters];
    Thread threads[kWriters];
    for (u32 i = 0; i < kWriters; ++i) {
      writers[i].memory = memory.as<u64>();
      writers[i].word = i;
      threads[i] = need(Thread::create(&write_on, &writers[i]), "thread");
    }
    // The child's, which has the writers' words of this instant for ever.
    Cap other(need(sys::memory_clone(original.get(), self().group), "clone for the child"));
    const u64 at_start = digest(need(Mapping::map(other.get(), Access::read), "map").as<u64>(), kWriters);
    Cap child = start_child(other.get());
    const u64 amount = std::max<u64>(report::amount(), 10);
    for (u64 i = 0; i < amount; ++i) {
      Cap taken;
      Mapping copy = need(Mapping::clone(original.get(), &taken), "clone");
      const u64 sum = digest(copy.as<u64>(), kWriters);
      for (u32 w = 0; w < kWriters; ++w) need_true(is_a_state(copy.as<u64>(), w), "an instant of the original");
      // A copy of the copy is written to; neither the copy nor the original changes.
      Mapping second = need(Mapping::clone(taken.get()), "clone of the clone");
      need_true(digest(second.as<u64>(), kWriters) == sum, "the second copy is as the first");
      for (u64 page = i % 7; page < kPages; page += 7) second.as<u64>()[page * kWords] = ~u64{0};
      need_true(digest(copy.as<u64>(), kWriters) == sum, "the copy stays as it is");
      need_true(second.as<u64>()[i % 7 * kWords] == ~u64{0}, "the second copy keeps what was written");
      // What the child writes to, while it does.
      Mapping childs = need(Mapping::clone(other.get()), "clone of the child's");
      need_true(is_a_state(childs.as<u64>(), kWriters), "an instant of the child's");
      need_true(digest(childs.as<u64>(), kWriters) == at_start, "the child's copy has nothing of ours");
    }
    for (u32 i = 0; i < kWriters; ++i) writers[i].stop.store(true, kRelaxed);
    for (u32 i = 0; i < kWriters; ++i) need(threads[i].join(), "join");
    for (u32 i = 0; i < kWriters; ++i) {
      need_true(is_a_state(memory.as<u64>(), i), "the original");
      need_true(writers[i].rounds.load(kRelaxed) > 0, "the writers went on");
    }
    need(sys::process_kill(child.get(), 0), "process_kill");
    need(sys::process_wait(child.get(), kForever), "process_wait");
  }
  u64 after = 0;
  for (u32 i = 0; i < 3000 && after + 100 < before; ++i) {  // what was given up is freed soon
    sleep_until(keel::after(10 * kMillisecond));
    after = need(sys::system_info(find_capability("control")), "system_info").free_pages;
  }
  need_true(after + 100 >= before, "all memory comes back");
  report::say("ok 1 - clones");
  report::end(true);
}
