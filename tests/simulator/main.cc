// simulator [--cpus=N] [--scenario=NAME] [--seed=N] [--count=N] [--trace] [--list]: runs each scenario with as many
// seeds. A run that breaks prints the command that repeats it. simulator --scale: scale.h.
#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include "tests/simulator/scale.h"
#include "tests/simulator/world.h"

using namespace keel;
using namespace keel::simulator;

namespace {

char g_banner[200];
constexpr u32 kSecondsPerRun = 20;  // a CPU that spins for ever reaches no point where entries are counted

void broken(int signal) {
  static const char kText[] = "\nbroken: ";
  (void)!write(2, kText, sizeof(kText) - 1);
  (void)!write(2, g_banner, strlen(g_banner));
  (void)!write(2, "\n", 1);
  std::signal(signal, SIG_DFL);
  raise(signal);
}

const char* value(const char* argument, const char* name) {
  const usize length = strlen(name);
  return strncmp(argument, name, length) == 0 ? argument + length : nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  u32 cpus = 0;
  u64 seed = 1;
  u64 count = 1000;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    if (const char* v = value(argv[i], "--cpus=")) cpus = u32(atoi(v));
    if (const char* v = value(argv[i], "--seed=")) seed = strtoull(v, nullptr, 0);
    if (const char* v = value(argv[i], "--count=")) count = strtoull(v, nullptr, 0);
    if (const char* v = value(argv[i], "--scenario=")) only = v;
    if (strcmp(argv[i], "--trace") == 0) World::trace = true;
    if (strcmp(argv[i], "--scale") == 0) return measure_scale() ? 0 : 1;
    if (strcmp(argv[i], "--list") == 0) {
      for (u32 n = 0; n < kScenarioCount; ++n) std::puts(kScenarios[n].name);
      return 0;
    }
  }
  World::banner = g_banner;
  for (int s : {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT, SIGALRM}) std::signal(s, &broken);
  for (u32 n = 0; n < kScenarioCount; ++n) {
    const Scenario& scenario = kScenarios[n];
    if (!only.empty() && only != scenario.name) continue;
    u64 points = 0;
    u64 entries = 0;
    const std::clock_t start = std::clock();
    for (u64 s = seed; s < seed + count; ++s) {
      const u32 with = cpus != 0 ? cpus : u32(2 + s % 3);
      snprintf(g_banner, sizeof(g_banner), "%s --scenario=%s --cpus=%u --seed=%llu --count=1", argv[0], scenario.name,
               with, (unsigned long long)s);
      alarm(kSecondsPerRun);
      World world(with, s);
      std::function<void()> look = scenario.set_up(world);
      world.run();
      look();
      world.finish();
      points += world.simulation().points();
      entries += world.entries();
    }
    std::printf("ok %s: %llu runs, %llu entries, %llu points, %.1f s\n", scenario.name, (unsigned long long)count,
                (unsigned long long)entries, (unsigned long long)points, double(std::clock() - start) / CLOCKS_PER_SEC);
    std::fflush(stdout);
  }
  return 0;
}
