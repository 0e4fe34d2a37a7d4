// What user code does wrong, and that it can be preempted anywhere.
#include "tests/system/abi/common.h"

namespace keel::abi_test {

// --- Faults

struct FaultCase {
  const char* name;
  const char* code;
  u64 a;
  FaultKind kind;
  u64 detail;  // bits that must be set
};

void test_faults() {
  CapIndex port = *sys::port_create(self().group, 0);
  const u64 kKernel = 0xffff'8000'0000'0000;
  // Of the child: data is at 1, code at 2.
  const FaultCase cases[] = {
      {"read of unmapped memory", abi_read, 0x10000, FaultKind::page, 0},
      {"read of null", abi_read, 0, FaultKind::page, 0},
      {"read of the kernel", abi_read, kKernel, FaultKind::page, 0},
      {"write to the kernel", abi_write, 0xffff'ffff'8010'0000, FaultKind::page, 2},
      {"jump into the kernel", abi_jump, 0xffff'ffff'8010'0000, FaultKind::page, 0},
      {"write to code", abi_write, 2, FaultKind::page, 2},
      {"execution of data", abi_jump, 1, FaultKind::page, 16},
      {"division by zero", abi_divide, 0, FaultKind::divide, 0},
      {"breakpoint", abi_breakpoint, 0, FaultKind::breakpoint, 0},
      {"illegal instruction", abi_illegal, 0, FaultKind::illegal_instruction, 0},
      {"in instruction", abi_in, 0, FaultKind::protection, 0},
      {"hlt instruction", abi_hlt, 0, FaultKind::protection, 0},
      {"read of a control register", abi_cr3, 0, FaultKind::protection, 0},
      {"wrmsr instruction", abi_wrmsr, 0, FaultKind::protection, 0},
      {"int instruction", abi_int, 0, FaultKind::protection, 0},
      {"non-canonical address", abi_noncanonical, 0, FaultKind::protection, 0},
      {"non-canonical stack", abi_bad_stack, 0, FaultKind::stack, 0},
  };
  char name[100];
  for (const FaultCase& f : cases) {
    const auto title = format_to(name, "fault: {}", f.name);
    name[title.size()] = 0;
    Check check(name);
    for (bool resume : {true, false}) {
      Child c = make_child();
      check.that(sys::process_set_handler(c.process, port).has_value(), "handler");
      const u64 a = f.a == 1 ? c.data : f.a == 2 ? c.code : f.a;
      check.that(start(c, f.code, a) == Status::ok, "start");
      Message m;
      m.deadline = Deadline(now() + 5'000'000'000);
      check.that(ipc::receive(port, m) == Status::ok, "arrives");
      // Processors report a bad stack pointer as a stack fault; the emulator as a protection violation.
      const bool also = f.kind == FaultKind::stack && m.words[0] == u64(FaultKind::protection);
      check.that(m.kind == MessageKind::fault && (m.words[0] == u64(f.kind) || also), "kind", m.words[0]);
      check.that((m.words[2] & f.detail) == f.detail, "detail", m.words[2]);
      if (f.kind == FaultKind::page) check.that(m.words[1] == a, "address", m.words[1]);
      const auto info = sys::thread_info(c.thread);
      check.that(info.has_value() && info->state == 4, "state is faulted",
                 info.has_value() ? info->state : 100 + u64(info.status()));
      Message answer;
      answer.deadline = kPoll;
      answer.word_count = 1;
      if (resume) {
        // Lets it go on at its end.
        check.that(sys::thread_registers(c.thread).has_value(), "registers");
        auto* r = reinterpret_cast<ThreadRegisters*>(message_page().words);
        check.that(r->rip == m.words[3] && r->rsp == m.words[4], "registers of the fault", r->rip);
        r->rip = c.code + u64(abi_exit - abi_code);
        r->rsp = c.data + 2 * kPageSize;
        check.that(sys::thread_set_registers(c.thread).has_value(), "set registers");
        answer.words[0] = u64(FaultAnswer::resume);
      }
      check.that(ipc::reply_receive(port, answer) == Status::timed_out, "answer");
      auto status = sys::process_wait(c.process, Deadline(now() + 5'000'000'000));
      check.that(status.has_value(), "ends");
      check.that(sys::process_info(c.process)->exit_status == (resume ? 0 : ~u64{0}), "exit status",
                 sys::process_info(c.process)->exit_status);
      end(c);
    }
  }
  {
    Check check("fault without a handler ends the process");
    Child c = make_child();
    (void)start(c, abi_illegal);
    auto status = sys::process_wait(c.process, kForever);
    check.that(status.has_value() && *status == (u64{0xfa17} << 32 | u64(FaultKind::illegal_instruction)), "status",
               *status);
    check.that(sys::process_info(c.process)->faults == 1, "is counted");
    end(c);
  }
  {
    Check check("write and execute exclude each other");
    CapIndex memory = *sys::memory_create(self().group, 1, 0);
    check.that(sys::space_map(self().space, memory.value, 0, 1, 7, 0).status() == Status::invalid_argument, "map");
    u64 at = *sys::space_map(self().space, memory.value, 0, 1, 3, 0);
    check.that(sys::space_protect(self().space, at, kPageSize, 7).status() == Status::invalid_argument, "protect");
    check.that(sys::space_protect(self().space, at, kPageSize, 5).has_value(), "from writable to executable");
    (void)sys::space_unmap(self().space, at, kPageSize);
    (void)sys::cap_delete(memory);
  }
  (void)sys::cap_delete(port);
}

// --- Preemption

struct Keeper {
  u64 count;
  u64 value;
  u64 stop;
  u64 broken;
};

void test_preemption() {
  {
    Check check("spinning threads of one level share the CPU");
    Child c[3];
    volatile u64* count[3];
    Mapping view[3];
    for (u32 i = 0; i < 3; ++i) {
      c[i] = make_child(kLowLevel);
      view[i] = *Mapping::map(c[i].memory, Access::read_write);
      count[i] = view[i].as<volatile u64>();
      check.that(start(c[i], abi_spin, c[i].data) == Status::ok, "start");
    }
    CapIndex n = *sys::notification_create(self().group);
    for (u32 tries = 0; tries < 200; ++tries) {
      (void)sys::notification_wait(n, Deadline(now() + 10'000'000));
      if (*count[0] != 0 && *count[1] != 0 && *count[2] != 0) break;
    }
    for (u32 i = 0; i < 3; ++i) {
      check.that(*count[i] != 0, "ran", i);
      check.that(sys::process_info(c[i].process)->cpu_ns > 0, "is charged", i);
    }
    // A stopped one does not.
    check.that(sys::thread_suspend(c[0].thread).has_value(), "suspend");
    const u64 stopped = *count[0];
    const u64 other = *count[1];
    for (u32 tries = 0; tries < 200 && *count[1] == other; ++tries) {
      (void)sys::notification_wait(n, Deadline(now() + 10'000'000));
    }
    check.that(*count[0] == stopped, "is stopped");
    check.that(*count[1] != other, "the others go on");
    check.that(sys::thread_resume(c[0].thread).has_value(), "resume");
    for (auto& child : c) end(child);
    (void)sys::cap_delete(n);
  }
  {
    Check check("registers, vectors and FS base survive preemption");
    Child c[3];
    Mapping view[3];
    for (u32 i = 0; i < 3; ++i) {
      c[i] = make_child(kLowLevel);
      view[i] = *Mapping::map(c[i].memory, Access::read_write);
      view[i].as<Keeper>()->value = 0x1111'1111 * (i + 1);
      check.that(start(c[i], abi_vector, c[i].data) == Status::ok, "start");
    }
    CapIndex n = *sys::notification_create(self().group);
    for (u32 i = 0; i < 12; ++i) (void)sys::notification_wait(n, Deadline(now() + 10'000'000));
    for (u32 i = 0; i < 3; ++i) view[i].as<volatile Keeper>()->stop = 1;
    for (u32 i = 0; i < 3; ++i) {
      check.that(sys::process_wait(c[i].process, Deadline(now() + 5'000'000'000)).has_value(), "ends");
      const auto* keeper = view[i].as<volatile Keeper>();
      check.that(keeper->count != 0, "ran");
      check.that(keeper->broken == 0, "state was lost", i);
      end(c[i]);
    }
    (void)sys::cap_delete(n);
  }
}

}  // namespace keel::abi_test
