#include "kernel/platform/config.h"

namespace keel {

Config::Config() {
  for (const KnobDescription& k : kKnobs) {
    if (kernel_has(k.feature)) set(k.knob, k.defaults[u32(kProfile)]);
  }
}

Result<const KnobDescription*> Config::check(u64 number, u64 value) {
  for (const KnobDescription& k : kKnobs) {
    if (u64(k.knob) != number) continue;
    if (!kernel_has(k.feature)) return Status::not_supported;
    if (value < k.minimum || value > k.maximum) return Status::out_of_range;
    return &k;
  }
  return Status::not_found;
}

KernelConfig Config::all() const {
  KernelConfig config;
  for (const KnobDescription& k : kKnobs) set_field(config, k.knob, get(k.knob));
  return config;
}

u64 Config::available() {
  u64 bits = 0;
  for (const KnobDescription& k : kKnobs) {
    if (kernel_has(k.feature)) bits |= u64{1} << u32(k.knob);
  }
  return bits;
}

}  // namespace keel
