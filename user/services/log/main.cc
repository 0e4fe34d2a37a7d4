// The log service: lets others read the kernel's log, one record per call, without authority over the kernel.
// Stateless: the records are the kernel's.
#include <cstring>

#include "idl/log.h"
#include "user/runtime/print.h"
#include "user/runtime/service_loop.h"
#include "user/runtime/stubs.h"

namespace keel {
namespace {

class LogService final : public LogServer {
 public:
  LogService(CapIndex log, CapIndex info) : log_(log), info_(info) {}

  Result<LogReadReply> read(Session, u64 sequence) override {
    const Result<sys::LogReadResult> record = sys::log_read(log_, sequence, kPoll);
    if (!record.has_value()) return record.error() == Status::timed_out ? Status::not_found : record.error();
    LogReadReply reply{.next = record->sequence + 1,
                       .time_ns = record->time_ns,
                       .level = static_cast<u32>(record->level),
                       .process = record->process,
                       .name = {},
                       .text = {}};
    const u64 bytes = record->bytes < reply.text.capacity() ? record->bytes : reply.text.capacity();
    reply.text = std::string_view(reinterpret_cast<const char*>(message_page().words), bytes);
    reply.name = name_of(record->process);
    return reply;
  }

 private:
  // Of a process that still lives.
  FixedString<31> name_of(u64 process) {
    if (process == 0) return "kernel";
    const Result<sys::ProcessListResult> found = sys::process_list(info_, process - 1);
    if (!found.has_value() || found->id != process) return {};
    const u64 words[3] = {found->name0, found->name1, found->name2};
    char text[sizeof words];
    std::memcpy(text, words, sizeof words);
    return std::string_view(text, strnlen(text));
  }
  static usize strnlen(const char (&text)[24]) {
    usize size = 0;
    while (size < sizeof text && text[size] != 0) ++size;
    return size;
  }

  CapIndex log_, info_;
};

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  LogService service(find_capability("kernel-log"), find_capability("kernel-info"));
  ServiceLoop loop(find_capability("serve.log.read"));
  loop.add(service);
  loop.run();
}
