// log: keeps the last records of the kernel's log for whoever asks, and shows the important ones on the console once
// its driver has taken that over from the kernel.
//
// Threads      reader: follows the kernel's log, fills the history, writes to the console. main: serves Log.
// Restart      the history comes again from the kernel's ring; the number of the record shown last is in the state
//              object, so that nothing is shown twice.
#include <vector>

#include "idl/console.h"
#include "idl/log.h"
#include "idl/manager.h"
#include "user/runtime/clock.h"
#include "user/runtime/memory.h"
#include "user/runtime/print.h"
#include "user/runtime/service_loop.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread.h"

namespace keel {
namespace {

constexpr usize kRecords = 4096;
constexpr u64 kShownLevel = static_cast<u64>(LogLevel::notice);

struct Record {
  u64 sequence = 0;
  u64 time_ns = 0;
  u64 process = 0;
  u32 level = 0;
  FixedString<31> name;
  FixedString<240> text;
};

// The last kRecords records, by ascending sequence.
class History {
 public:
  void add(const Record& record) {
    const MutexGuard guard(mutex_);
    if (records_.size() < kRecords) {
      records_.push_back(record);
    } else {
      records_[first_] = record;
      first_ = (first_ + 1) % kRecords;
    }
  }
  Result<Record> at_or_after(u64 sequence) {
    const MutexGuard guard(mutex_);
    usize low = 0, high = records_.size();
    while (low < high) {
      const usize middle = (low + high) / 2;
      if (at(middle).sequence < sequence) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low == records_.size()) return Status::not_found;
    return at(low);
  }

 private:
  const Record& at(usize index) REQUIRES(mutex_) { return records_[(first_ + index) % records_.size()]; }
  Mutex mutex_;
  std::vector<Record> records_ GUARDED_BY(mutex_);
  usize first_ GUARDED_BY(mutex_) = 0;
};

// What survives a restart.
struct State {
  u64 shown;  // sequence of the last record that was shown
};

class Follower {
 public:
  explicit Follower(History& history) : history_(history), log_(find_capability("kernel-log")) {
    const Result<Cap> memory = ManagerClient(find_capability("manager")).state();
    Result<Mapping> mapped = memory.has_value() ? Mapping::map(memory->get(), Access::read_write) : memory.error();
    static State own_state;
    state_ = mapped.has_value() ? reinterpret_cast<State*>(mapped->release().data()) : &own_state;
  }

  static void run(void* self) { static_cast<Follower*>(self)->follow(); }

 private:
  void follow() {
    for (u64 sequence = 1;;) {
      const Result<sys::LogReadResult> read = sys::log_read(log_, sequence, kForever);
      if (!read.has_value()) {
        sleep_until(after(kSecond));
        continue;
      }
      Record record;
      record.sequence = read->sequence;
      record.time_ns = read->time_ns;
      record.process = read->process;
      record.level = static_cast<u32>(read->level & ~u64{kLogShown});
      const usize bytes = read->bytes < 240 ? read->bytes : 240;
      record.text = std::string_view(reinterpret_cast<const char*>(message_page().words), bytes);
      record.name = name_of(*read);
      sequence = read->sequence + 1;
      history_.add(record);
      if ((read->level & kLogShown) == 0) show(record);  // what the kernel has not shown itself
    }
  }

  static FixedString<31> name_of(const sys::LogReadResult& read) {
    if (read.process == 0) return "kernel";
    const u64 words[3] = {read.name0, read.name1, read.name2};
    const char* text = reinterpret_cast<const char*>(words);
    usize size = 0;
    while (size < sizeof words && text[size] != 0) ++size;
    return std::string_view(text, size);
  }

  void show(const Record& record) {
    if (record.sequence <= state_->shown) return;
    state_->shown = record.sequence;
    if (record.level > kShownLevel) return;
    const ConsoleClient console(find_capability("console"));
    if (!console) return;
    char line[300];
    const u64 us = record.time_ns / 1000;
    const std::string_view text = format_to(line, "[{:>4}.{:03}] {}\n", us / 1000, us % 1000, record.text.view());
    static_cast<void>(console.write(std::as_bytes(std::span(text.data(), text.size()))));  // it stays in the history
  }

  History& history_;
  CapIndex log_;
  State* state_;
};

class LogService final : public LogServer {
 public:
  explicit LogService(History& history) : history_(history) {}
  Result<LogReadReply> read(Session, u64 sequence) override {
    const Record record = TRY(history_.at_or_after(sequence));
    return LogReadReply{.next = record.sequence + 1,
                        .time_ns = record.time_ns,
                        .level = record.level,
                        .process = record.process,
                        .name = record.name,
                        .text = record.text};
  }

 private:
  History& history_;
};

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  static History history;
  static Follower follower(history);
  const Result<Thread> reader = Thread::create(&Follower::run, &follower);
  if (!reader.has_value()) fatal("log: no thread to follow the kernel's log");
  LogService service(history);
  ServiceLoop loop(find_capability("serve.log.read"));
  loop.add(service);
  loop.run();
}
