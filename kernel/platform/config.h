// Config: the kernel's settings, each a number in a range (abi/config.toml).
//
// Invariants   I1 the value of a setting is in its range; of one whose mechanism this kernel lacks it is 0.
// Locks        none: each is one word. Written by the first CPU, read by all; settings say nothing about each other.
// See          docs/kernel-config.md, config_test.cc
#pragma once

#include "base/atomic.h"
#include "base/result.h"
#include "kernel/features.h"

namespace keel {

class Config {
 public:
  // As the profile has it.
  Config();

  u32 get(Knob knob) const { return values_[u32(knob)].load(kRelaxed); }
  bool is_on(Knob knob) const { return get(knob) != 0; }
  // Errors: not_found, not_supported, out_of_range.
  static Result<const KnobDescription*> check(u64 number, u64 value);
  bool weakens(const KnobDescription& knob, u32 value) const {
    return knob.weaker_when_lower ? value < get(knob.knob) : value > get(knob.knob);
  }
  // What check() has allowed.
  void set(Knob knob, u32 value) { values_[u32(knob)].store(value, kRelaxed); }
  KernelConfig all() const;
  // A bit for each setting that this kernel has.
  static u64 available();

 private:
  Atomic<u32> values_[kKnobNumbers];
};

}  // namespace keel
