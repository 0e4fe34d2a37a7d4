#include "user/services/manager/config.h"

#include <gtest/gtest.h>

#include <string>

namespace keel::manager {
namespace {

std::string errors_of(const Config& config) {
  std::string all;
  for (const ConfigError& e : config.errors) all += std::to_string(e.line) + ": " + std::string(e.text.view()) + "\n";
  return all;
}

std::string order_of(const Config& config) {
  std::string all;
  for (const u16 i : config.start_order()) all += std::string(config.services[i].name) + " ";
  return all;
}

TEST(Config, ReadsEveryKey) {
  const Config config = parse_config(R"(
# the log
[service log]
exec = /bin/log    # a comment
args = --file, a b , x#y
provides = log, log.read
uses = time
capabilities = kernel-log, io-ports:0x3f8-0x3ff, io-ports:96, irq-control, irq-control:4-7, irq-control:0x10, physical-memory, acpi, reboot
restart = always
backoff = 20ms..2m
max-restarts = 3/10s
heartbeat = 500ms
priority = high
state = 64K

[driver virtio-blk]
exec = /drivers/virtio-blk
match = pci:1af4:1042, pci-class:01:00
needs = log
)");
  EXPECT_EQ(errors_of(config), "");
  ASSERT_EQ(config.services.size(), 2u);
  const Service& log = *config.find("log");
  EXPECT_FALSE(log.is_driver);
  EXPECT_EQ(log.line, 3u);
  EXPECT_EQ(log.exec, "/bin/log");
  ASSERT_EQ(log.args.size(), 3u);
  EXPECT_EQ(log.args[1], "a b");
  EXPECT_EQ(log.args[2], "x#y");
  EXPECT_EQ(log.provides[1], "log.read");
  EXPECT_EQ(log.uses[0], "time");
  ASSERT_EQ(log.capabilities.size(), 9u);
  EXPECT_EQ(log.capabilities[0].kind, CapabilityKind::kernel_log);
  EXPECT_EQ(log.capabilities[1].first, 0x3f8);
  EXPECT_EQ(log.capabilities[1].last, 0x3ff);
  EXPECT_EQ(log.capabilities[2].scope(), 96 | u64{1} << 32);
  EXPECT_EQ(log.capabilities[3].kind, CapabilityKind::irq_control);
  EXPECT_EQ(log.capabilities[3].scope(), 0u);
  EXPECT_EQ(log.capabilities[4].kind, CapabilityKind::irq_control);
  EXPECT_EQ(log.capabilities[4].scope(), 4 | u64{4} << 32);
  EXPECT_EQ(log.capabilities[5].scope(), 0x10 | u64{1} << 32);
  EXPECT_EQ(log.restart, RestartPolicy::always);
  EXPECT_EQ(log.backoff_first_ns, 20'000'000u);
  EXPECT_EQ(log.backoff_max_ns, 120'000'000'000u);
  EXPECT_EQ(log.max_restarts, 3u);
  EXPECT_EQ(log.restart_window_ns, 10'000'000'000u);
  EXPECT_EQ(log.heartbeat_ns, 500'000'000u);
  EXPECT_EQ(log.priority, Priority::high);
  EXPECT_EQ(log.state_bytes, 65536u);
  const Service& driver = *config.find("virtio-blk");
  EXPECT_TRUE(driver.is_driver);
  EXPECT_EQ(driver.match[0].vendor, 0x1af4);
  EXPECT_EQ(driver.match[0].device, 0x1042);
  EXPECT_EQ(driver.match[1].kind, DeviceMatch::Kind::pci_class);
  EXPECT_EQ(driver.match[1].class_code, 1);
  EXPECT_EQ(driver.heartbeat_ns, 0u);
}

TEST(Config, StartOrderPutsNeedsFirstAndKeepsTheTextOtherwise) {
  const Config config = parse_config(
      "[service shell]\nexec=/s\nneeds=fs,log\n[service a]\nexec=/a\n[service fs]\nexec=/f\nneeds=block\n"
      "[service log]\nexec=/l\n[service block]\nexec=/b\n");
  EXPECT_EQ(errors_of(config), "");
  EXPECT_EQ(order_of(config), "a log block fs shell ");
}

TEST(Config, AnErrorCostsOnlyItsService) {
  const Config config = parse_config(R"([service good]
exec = /good
[service bad]
exec = /bad
colour = red
priority = urgent
[service other]
exec = /other
[service dependent]
exec = /d
needs = bad
)");
  EXPECT_EQ(errors_of(config),
            "5: unknown key 'colour'\n"
            "6: priority 'urgent' is not real-time, high, normal, low or idle\n");
  EXPECT_EQ(order_of(config), "good other ");
  EXPECT_EQ(config.find("bad")->failed_reason.view(), "unknown key 'colour'");
  EXPECT_EQ(config.find("dependent")->failed_reason.view(), "needs 'bad', which cannot be used");
}

std::string error_for(const std::string& line) {
  const std::string text = "[driver x]\nexec = /x\nmatch = pci:0001:0002\n" + line + "\n";
  return errors_of(parse_config(text));
}

TEST(Config, BadValuesAreNamed) {
  EXPECT_EQ(error_for("heartbeat = 2"), "4: heartbeat '2' is no time such as 2s, nor off\n");
  EXPECT_EQ(error_for("heartbeat = 0s"), "4: heartbeat '0s' is no time such as 2s, nor off\n");
  EXPECT_EQ(error_for("heartbeat = off"), "");
  EXPECT_EQ(error_for("heartbeat = 99999999999999999999s"),
            "4: heartbeat '99999999999999999999s' is no time such as 2s, nor off\n");
  EXPECT_EQ(error_for("backoff = 5s..1s"), "4: backoff '5s..1s' is no range such as 10ms..5s\n");
  EXPECT_EQ(error_for("backoff = 5s"), "");
  EXPECT_EQ(error_for("max-restarts = 5"), "4: max-restarts '5' is no count per time such as 10/60s\n");
  EXPECT_EQ(error_for("max-restarts = 5/0s"), "4: max-restarts '5/0s' is no count per time such as 10/60s\n");
  EXPECT_EQ(error_for("state = 1G"), "4: state '1G' is no size such as 64K, at most 64M\n");
  EXPECT_EQ(error_for("state = 65M"), "4: state '65M' is no size such as 64K, at most 64M\n");
  EXPECT_EQ(error_for("restart = maybe"), "4: restart 'maybe' is not always, on-failure or never\n");
  EXPECT_EQ(error_for("capabilities = reboot, everything"), "4: unknown capability 'everything'\n");
  EXPECT_EQ(error_for("capabilities = io-ports:0x3ff-0x3f8"), "4: unknown capability 'io-ports:0x3ff-0x3f8'\n");
  EXPECT_EQ(error_for("capabilities = io-ports:0x10000"), "4: unknown capability 'io-ports:0x10000'\n");
  EXPECT_EQ(error_for("capabilities = irq-control:"), "4: unknown capability 'irq-control:'\n");
  EXPECT_EQ(error_for("capabilities = irq-control:7-4"), "4: unknown capability 'irq-control:7-4'\n");
  EXPECT_EQ(error_for("capabilities = irq-control:4-"), "4: unknown capability 'irq-control:4-'\n");
  EXPECT_EQ(error_for("exec = /y"), "4: 'exec' is given twice\n");
  EXPECT_EQ(error_for("needs ="), "4: 'needs' has no value\n");
  EXPECT_EQ(error_for("args = a,,b"), "4: 'args' has an empty item\n");
  EXPECT_EQ(error_for("args = a\x01"), "4: the value of 'args' holds a control character\n");
  EXPECT_EQ(error_for("uses = a, b, a"), "4: 'a' is listed twice in 'uses'\n");
  EXPECT_EQ(error_for("uses = Big"), "4: 'Big' is no name: 1 to 31 of a-z 0-9 - _ .\n");
  EXPECT_EQ(error_for("args = 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"), "4: 'args' has more than 16 items\n");
  EXPECT_EQ(error_for("nonsense"), "4: expected 'key = value' or '[service NAME]', found 'nonsense'\n");
  EXPECT_EQ(errors_of(parse_config("[driver x]\nexec = /x\nmatch = pci:1:2\n")),
            "3: 'pci:1:2' is no match; pci:VVVV:DDDD or pci-class:CC:SS\n");
  EXPECT_EQ(errors_of(parse_config("[service x]\nexec = bin/x\n")), "2: exec 'bin/x' is no absolute path\n");
}

TEST(Config, BadSectionsAreNamed) {
  EXPECT_EQ(errors_of(parse_config("exec = /x\n")), "1: 'exec' stands before the first section\n");
  EXPECT_EQ(errors_of(parse_config("[task x]\nexec = /x\n[service y]\nexec=/y")),
            "1: unknown section 'task'; expected 'service' or 'driver'\n");
  EXPECT_EQ(errors_of(parse_config("[service]\n")), "1: '' is no name: 1 to 31 of a-z 0-9 - _ .\n");
  EXPECT_EQ(errors_of(parse_config("[service x\n")), "1: a section header ends with ']'\n");
  EXPECT_EQ(errors_of(parse_config("[\n")), "1: a section header ends with ']'\n");
  EXPECT_EQ(errors_of(parse_config("[service x]\n\n[service y]\nexec=/y\n")), "1: 'x' has no exec\n");
  EXPECT_EQ(errors_of(parse_config("[driver x]\nexec=/x\n")), "1: driver 'x' has no match\n");
  EXPECT_EQ(errors_of(parse_config("[service x]\nexec=/x\nmatch=pci:0001:0002")), "3: only a driver has 'match'\n");
  const Config twice = parse_config("[service x]\nexec=/1\n[service x]\nexec=/2\n[service y]\nexec=/y\nneeds=x\n");
  EXPECT_EQ(errors_of(twice), "3: 'x' is defined a second time; first in line 1\n");
  EXPECT_EQ(order_of(twice), "x y ");
  EXPECT_EQ(twice.find("x")->exec, "/1");
}

TEST(Config, DependenciesAreChecked) {
  const Config unknown = parse_config("[service x]\nexec=/x\nneeds=ghost\n[service y]\nexec=/y\n");
  EXPECT_EQ(errors_of(unknown), "1: 'x' needs 'ghost', which is not defined\n");
  EXPECT_EQ(order_of(unknown), "y ");

  const Config cycle = parse_config(
      "[service a]\nexec=/a\nneeds=b\n[service b]\nexec=/b\nneeds=c\n[service c]\nexec=/c\nneeds=a\n"
      "[service d]\nexec=/d\nneeds=a\n[service e]\nexec=/e\n");
  EXPECT_EQ(errors_of(cycle), "1: dependency cycle: a -> b -> c -> a\n");
  EXPECT_EQ(order_of(cycle), "e ");
  EXPECT_EQ(cycle.find("c")->failed_reason.view(), "dependency cycle: a -> b -> c -> a");
  EXPECT_EQ(cycle.find("d")->failed_reason.view(), "needs 'a', which cannot be used");

  EXPECT_EQ(errors_of(parse_config("[service a]\nexec=/a\nneeds=a\n")), "1: dependency cycle: a -> a\n");
}

TEST(Config, BoundsHold) {
  std::string many;
  for (int i = 0; i < 70; ++i)
    many += "[service s" + std::to_string(i) + "]\nexec=/x\nneeds=s" + std::to_string((i + 1) % 64) + "\n";
  const Config config = parse_config(many);
  EXPECT_EQ(config.services.size(), kMaxServices);
  EXPECT_EQ(config.errors.size(), 7u);  // six too many, and a cycle of all
  EXPECT_EQ(config.start_order().size(), 0u);
  EXPECT_EQ(errors_of(parse_config(std::string(kMaxConfigBytes + 1, '\n'))),
            "0: the file is larger than 262144 bytes; nothing of it is used\n");
  const Config noisy = parse_config([] {
    static std::string text;
    for (int i = 0; i < 1000; ++i) text += "x\n";
    return std::string_view(text);
  }());
  EXPECT_EQ(noisy.errors.size(), kMaxConfigErrors);
  EXPECT_TRUE(noisy.more_errors);
  EXPECT_EQ(parse_config("").services.size(), 0u);
  EXPECT_EQ(errors_of(parse_config("[service x]\r\nexec = /x\r\n")), "");
}

}  // namespace
}  // namespace keel::manager
