// kconfig: the kernel's settings (abi/config.toml), and what the mechanisms behind them have found.
#include <cstring>

#include "abi/config.h"
#include "user/apps/shell/commands.h"
#include "user/runtime/machine.h"
#include "user/runtime/stubs.h"

namespace keel::shell {
namespace {

struct Settings {
  sys::ConfigReadResult counters;
  KernelConfig values;
  bool has(Knob knob) const { return (counters.available >> static_cast<u32>(knob) & 1) != 0; }
  u32 default_of(const KnobDescription& k) const { return k.defaults[counters.profile < 3 ? counters.profile : 1]; }
};

Result<Settings> read_settings() {
  Settings settings{TRY(sys::config_read(kernel_info())), {}};
  if (settings.counters.version != kKernelConfigVersion || settings.counters.bytes != sizeof(KernelConfig)) {
    return Status::version_mismatch;
  }
  std::memcpy(&settings.values, message_page().words, sizeof(KernelConfig));
  return settings;
}

void print_one(Output& out, const Settings& settings, const KnobDescription& k) {
  FixedString<24> range, value;
  format(range, "{} to {}", k.minimum, k.maximum);
  if (settings.has(k.knob)) {
    format(value, "{}", field(settings.values, k.knob));
  } else {
    value = "absent";
  }
  out.print("{:<32} {:>8}  {:<13} {:>8}  {}\n", k.name, value.view(), range.view(), settings.default_of(k), k.text);
}

void print_all(const Settings& settings) {
  Output out;
  const sys::ConfigReadResult& c = settings.counters;
  out.print("profile {}, version {}\n", c.profile < 3 ? kProfileNames[c.profile] : "?", c.version);
  out.print("{:<32} {:>8}  {:<13} {:>8}  {}\n", "setting", "value", "range", "at boot", "what it says");
  for (const KnobDescription& k : kKnobs) print_one(out, settings, k);
  out.print("found: {} places of free memory changed, {} messages changed on their way\n", c.bad_memory,
            c.bad_messages);
  out.print("done: {} pages read, {} comparisons of the kernel's text\n", c.pages_read, c.text_checks);
}

u64 change(Shell& shell, const KnobDescription& k, std::string_view text) {
  const Result<u64> value = number_of(text);
  if (!value.has_value()) return usage("kconfig");
  const CapIndex weaken = find_capability("kernel-weaken");
  const CapIndex with = weaken != kNoCapability ? weaken : find_capability("kernel-tune");
  const Result<u64> previous = sys::config_set(with, static_cast<u64>(k.knob), *value);
  if (previous.has_value()) {
    print("{}: {} (was {})\n", k.name, *value, *previous);
    return 0;
  }
  FixedString<80> why;
  if (previous.error() == Status::out_of_range) format(why, "{} to {} is allowed", k.minimum, k.maximum);
  if (previous.error() == Status::not_supported) why = "this kernel does not have the mechanism";
  if (previous.error() == Status::missing_right) {
    format(why, "{} values make it weaker: that takes the right weaken", k.weaker_when_lower ? "lower" : "higher");
  }
  return shell.fail("kconfig", k.name, previous.error(), why.view());
}

}  // namespace

u64 kconfig(Shell& shell, Words words) {
  if (words.size() > 3) return usage("kconfig");
  const KnobDescription* named = nullptr;
  if (words.size() > 1) {
    for (const KnobDescription& k : kKnobs) named = k.name == words[1] ? &k : named;
    if (named == nullptr) return shell.fail("kconfig", words[1], Status::not_found);
  }
  if (words.size() == 3) return change(shell, *named, words[2]);
  const Result<Settings> settings = read_settings();
  if (!settings.has_value()) return shell.fail("kconfig", "", settings.error());
  if (named == nullptr) {
    print_all(*settings);
  } else {
    Output out;
    print_one(out, *settings, *named);
  }
  return 0;
}

}  // namespace keel::shell
