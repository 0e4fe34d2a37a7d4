// Random scripts of system calls: a smaller brother of call_fuzz.cc that runs with every test.
#include "kernel/syscall/script_rig_test.h"

#include <gtest/gtest.h>

namespace keel::testing {
namespace {

TEST(CallScript, RandomSequencesBreakNothingAndGiveEverythingBack) {
  const u64 scripts =
      std::getenv("KEEL_SCRIPTS") != nullptr ? std::strtoull(std::getenv("KEEL_SCRIPTS"), nullptr, 0) : 60;
  const u64 only = std::getenv("KEEL_ONLY") != nullptr ? std::strtoull(std::getenv("KEEL_ONLY"), nullptr, 0) : 0;
  for (u64 i = 0; i < scripts; ++i) {
    const u64 seed = only != 0 ? only : test_seed() * 1'000'003 + i;
    if (scripts > 1000 || only != 0) std::fprintf(stderr, "script %llu\n", static_cast<unsigned long long>(seed));
    SCOPED_TRACE(seed);
    Random random(seed);
    std::vector<u8> bytes(200 + random.below(3000));
    for (u8& b : bytes) b = u8(random.next());
    CallScript(bytes).run();
    if (only != 0) break;
  }
}

}  // namespace
}  // namespace keel::testing
