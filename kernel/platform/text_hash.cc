#include "kernel/platform/text_hash.h"

#include <arch/integrity.h>
#include <arch/memory.h>
#include <arch/panic.h>

#include "kernel/core/machine.h"

namespace keel {
namespace {

constexpr u64 kStepNs = 500'000;

}  // namespace

TextHash::Digest TextHash::finish_page() {
  Digest digest;
  br_sha256_out(&hash_, digest.data());
  br_sha256_init(&hash_);
  return digest;
}

Result<void> TextHash::initialise(Cpu& cpu) {
  const std::span<const std::byte> image = arch::constant_image();
  const usize pages = image.size() / kPageSize;
  u32 order = 0;
  while ((kPageSize << order) < pages * sizeof(Digest)) ++order;
  Frame* frame = TRY(cpu.machine.frames.allocate(cpu, cpu.machine.root_group(), order));
  digests_ = {static_cast<Digest*>(phys_to_virt(cpu.machine.frames.address(frame))), pages};
  br_sha256_init(&hash_);
  for (usize i = 0; i < pages; ++i) {
    br_sha256_update(&hash_, image.data() + i * kPageSize, kPageSize);
    new (&digests_[i]) Digest(finish_page());
  }
  return {};
}

bool TextHash::wanted(Cpu&) const {
  return platform_.config.is_on(Knob::hash_kernel_text_enabled) && !digests_.empty();
}

u64 TextHash::run(Cpu& cpu) {
  const u64 now = cpu.now_ns();
  if (offset_ == 0 && now < next_round_ns_) {
    const u64 most = now + platform_.config.get(Knob::hash_kernel_text_interval_sec) * u64{1'000'000'000};
    if (next_round_ns_ > most) next_round_ns_ = most;  // the interval has been shortened
    return next_round_ns_ - now < kMaxWaitNs ? next_round_ns_ - now : kMaxWaitNs;
  }
  const std::span<const std::byte> image = arch::constant_image();
  if (!page_is_full_) {
    br_sha256_update(&hash_, image.data() + offset_, kBytesPerStep);
    offset_ += kBytesPerStep;
    page_is_full_ = offset_ % kPageSize == 0;
    return kStepNs;
  }
  page_is_full_ = false;
  const usize page = offset_ / kPageSize - 1;
  if (finish_page() != digests_[page]) {
    char line[96];
    arch::panic(format_to(line, "the kernel's code or constants were changed: page {} of the image", page));
  }
  if (offset_ < image.size()) return kStepNs;
  offset_ = 0;
  platform_.text_checks.fetch_add(1, kRelaxed);
  next_round_ns_ = now + platform_.config.get(Knob::hash_kernel_text_interval_sec) * u64{1'000'000'000};
  return kStepNs;
}

}  // namespace keel
