#include "user/services/manager/permissions.h"

#include <gtest/gtest.h>

#include <string>

namespace keel::manager {
namespace {

// What a manifest with this line becomes: "files=... uses=... capabilities=N", or the error.
std::string outcome(const std::string& words, const std::string& more = "", const std::string& section = "service x") {
  const std::string text = "[" + section + "]\nexec = /x\ncapabilities = " + words + "\n" + more +
                           "\n[service block]\nexec=/b\nprovides=block\n[service vfs]\nexec=/v\nprovides=vfs\n";
  static std::string kept;  // a Config points into its text
  kept = text;
  const Config config = parse_config(kept);
  if (!config.errors.empty()) {
    return std::to_string(config.errors[0].line) + ": " + std::string(config.errors[0].text.view());
  }
  const Service& s = *config.find("x");
  std::string all = "files=";
  for (const std::string_view path : s.files) all += std::string(path) + " ";
  all += "uses=";
  for (const std::string_view use : s.uses) all += std::string(use) + " ";
  return all + "capabilities=" + std::to_string(s.capabilities.size());
}

TEST(Permissions, FilesBecomeASessionOfTheVfs) {
  EXPECT_EQ(outcome("file_read"), "files=/ uses=vfs capabilities=0");
  EXPECT_EQ(outcome("file_execute"), "files=/ uses=vfs capabilities=0");
  EXPECT_EQ(outcome("file_read(/etc), file_read(/disk/a b)"), "files=/etc /disk/a b uses=vfs capabilities=0");
  EXPECT_EQ(outcome("file_read(/etc), file_read(/etc)"), "files=/etc uses=vfs capabilities=0");
}

TEST(Permissions, DevicesBecomePorts) {
  EXPECT_EQ(outcome("hw_disk"), "files=uses=block capabilities=0");
  EXPECT_EQ(outcome("device_access(disk)", "uses = block"), "files=uses=block capabilities=0");
  EXPECT_EQ(outcome("device_access(console)"), "files=uses=console capabilities=0");
}

TEST(Permissions, SystemRightsBecomeKernelCapabilities) {
  EXPECT_EQ(outcome("sys_reboot"), "files=uses=capabilities=1");
  EXPECT_EQ(outcome("sys_admin"), "files=uses=manager names capabilities=4");
  EXPECT_EQ(outcome("kernel-info, sys_admin, kernel-log"), "files=uses=manager names capabilities=4");
}

TEST(Permissions, WhatEverybodyMayIsAcceptedAndGivesNothingMore) {
  EXPECT_EQ(outcome("ipc_send, ipc_recv, ipc_create, process_spawn"), "files=uses=capabilities=0");
}

TEST(Permissions, SetsAreWhatTheyList) {
  EXPECT_EQ(outcome("app_set"), outcome("file_read, ipc_send, ipc_recv"));
  EXPECT_EQ(outcome("service_set"), "files=/ uses=vfs capabilities=0");
  EXPECT_EQ(outcome("admin_set"), "files=/ uses=manager names vfs capabilities=4");
  EXPECT_EQ(outcome("driver_set", "match = pci:0001:0002", "driver x"), "files=uses=capabilities=0");
  EXPECT_EQ(outcome("driver_set"), "3: only a driver has 'driver_set'");
}

TEST(Permissions, WhatNobodyOffersIsRefusedByName) {
  for (const char* word :
       {"net_listen", "net_connect", "net_raw", "net_admin", "iface_control", "route_modify", "net_bind(80)"}) {
    EXPECT_EQ(outcome(word), "3: '" + std::string(word) + "': no service offers the network yet");
  }
  EXPECT_EQ(outcome("hw_usb"), "3: 'hw_usb': no service offers USB yet");
  EXPECT_EQ(outcome("hw_audio"), "3: 'hw_audio': no service offers sound yet");
  EXPECT_EQ(outcome("hw_video"), "3: 'hw_video': no service offers a display yet");
  EXPECT_EQ(outcome("file_write"), "3: 'file_write': no file system can be written yet");
  EXPECT_EQ(outcome("file_write(/tmp)"), "3: 'file_write(/tmp)': no file system can be written yet");
  EXPECT_EQ(outcome("sys_chroot"),
            "3: 'sys_chroot': no service changes roots; file_read(PATH) gives a part of the tree");
  EXPECT_EQ(outcome("device_access(toaster)"), "3: 'device_access(toaster)': no service offers that device");
}

TEST(Permissions, BadFormsAreNamed) {
  EXPECT_EQ(outcome("file_reed"), "3: unknown capability 'file_reed'");
  EXPECT_EQ(outcome("file_read(/etc"), "3: 'file_read(/etc' lacks a ')'");
  EXPECT_EQ(outcome("hw_disk(1)"), "3: 'hw_disk' takes no argument");
  EXPECT_EQ(outcome("net_bind"), "3: 'net_bind' lacks its argument in brackets");
  EXPECT_EQ(outcome("net_bind(0)"), "3: 'net_bind(0)': 1 to 65535 is a port");
  EXPECT_EQ(outcome("net_bind(65536)"), "3: 'net_bind(65536)': 1 to 65535 is a port");
  EXPECT_EQ(outcome("net_bind(8x)"), "3: 'net_bind(8x)': 1 to 65535 is a port");
  for (const char* path : {"", "etc", "/etc/", "//", "/a//b", "/..", "/a/./b"}) {
    const std::string item = "file_read(" + std::string(path) + ")";
    EXPECT_EQ(outcome(item), "3: '" + item + "': the path must be absolute and plain");
  }
}

TEST(Permissions, AScopeBesideTheWholeTreeIsAMistake) {
  EXPECT_EQ(outcome("file_read(/etc)", "uses = vfs"),
            "1: 'uses = vfs' gives 'x' all files; file_read would narrow nothing");
  EXPECT_EQ(outcome("file_read", "uses = vfs"), "files=/ uses=vfs capabilities=0");
}

TEST(Permissions, AnErrorCostsOnlyItsService) {
  const Config config = parse_config(
      "[service a]\nexec=/a\ncapabilities=net_raw\n[service b]\nexec=/b\n[service vfs]\nexec=/v\nprovides=vfs\n");
  EXPECT_EQ(config.errors.size(), 1u);
  EXPECT_EQ(config.find("a")->failed_reason.view(), "'net_raw': no service offers the network yet");
  EXPECT_FALSE(config.find("b")->failed());
}

TEST(Permissions, LabelsAreNumbers) {
  EXPECT_EQ(outcome("ipc_send", "uid = 1000\ngid = 0"), "files=uses=capabilities=0");
  for (const char* bad : {"-1", "x", "4294967295", "99999999999"}) {
    EXPECT_EQ(outcome("ipc_send", "uid = " + std::string(bad)),
              "4: uid '" + std::string(bad) + "' is no number below 4294967295");
  }
}

}  // namespace
}  // namespace keel::manager
