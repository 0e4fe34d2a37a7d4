#include "kernel/platform/message_checks.h"

#include <string.h>

#include <arch/integrity.h>

#include "kernel/core/machine.h"

namespace keel {
namespace {

// user/runtime/wire.h: in a request interface (bits 8-15) and version (16-31), which start at 1; in a reply a status.
bool is_header(u64 word, bool reply) {
  return reply ? word < kStatusCount : (word >> 8 & 0xff) != 0 && (word >> 16 & 0xffff) != 0;
}

}  // namespace

Result<void> MessageChecks::carry(Cpu& cpu, const Thread& sender, Thread& receiver, u32 words) {
  const Config& config = platform_.config;
  if (config.is_on(Knob::msg_header_checks_enabled) &&
      (words == 0 || !is_header(sender.state.word[0], receiver.waits_for(WaitKind::reply)))) {
    return Status::invalid_argument;
  }
  if (words <= kRegisterWords) return {};
  const std::span<const u64> from{&sender.message_page->words[kRegisterWords], words - kRegisterWords};
  const std::span<u64> to{&receiver.message_page->words[kRegisterWords], from.size()};
  bool sampled = config.is_on(Knob::msg_payload_crc_enabled);
  if (sampled) {
    const u32 seen = seen_.load(kRelaxed) + 1;
    sampled = seen >= config.get(Knob::msg_crc_sample_rate);
    seen_.store(sampled ? 0 : seen, kRelaxed);
  }
  const u32 sum = sampled ? arch::crc32c(from) : 0;
  memcpy(to.data(), from.data(), from.size_bytes());
  if (platform_.spoil_messages) to[0] ^= 1;
  if (!sampled || arch::crc32c(to) == sum) return {};
  platform_.bad_messages.fetch_add(1, kRelaxed);
  log_format(cpu, LogLevel::error, "a message of process {} to process {} arrived changed", sender.process->id(),
             receiver.process->id());
  return Status::corrupt;
}

void MessageChecks::route(Cpu& cpu) {
  const Config& config = platform_.config;
  arch::route_messages(cpu,
                       config.is_on(Knob::msg_header_checks_enabled) || config.is_on(Knob::msg_payload_crc_enabled));
}

}  // namespace keel
