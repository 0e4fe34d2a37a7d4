#include "user/runtime/spawn.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "user/runtime/host/fake_kernel.h"

namespace keel {
namespace {

// The smallest image with a shared and a copied segment.
std::vector<std::byte> image() {
  struct Header {
    u8 ident[16] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    u16 type = 3, machine = 62;
    u32 version = 1;
    u64 entry = 0x200, program_headers = 64, section_headers = 0;
    u32 flags = 0;
    u16 header_bytes = 64, program_header_bytes = 56, program_header_count = 2, rest[3] = {};
  } header;
  struct Segment {
    u32 type = 1, flags;
    u64 offset, vaddr, paddr = 0, file_size, mem_size, alignment = 4096;
  };
  const Segment segments[2] = {{.flags = 5, .offset = 0, .vaddr = 0, .file_size = 0x1000, .mem_size = 0x1000},
                               {.flags = 6, .offset = 0x1000, .vaddr = 0x1000, .file_size = 0x100, .mem_size = 0x2000}};
  std::vector<std::byte> file(0x1100);
  std::memcpy(file.data(), &header, sizeof header);
  std::memcpy(file.data() + 64, segments, sizeof segments);
  return file;
}

struct Bench {
  host::FakeKernel kernel;
  std::vector<std::byte> file = image();
  CapIndex group = kernel.make(ObjectKind::group);
  CapIndex port = kernel.make(ObjectKind::port);
  CapIndex initrd = kernel.make(ObjectKind::memory, 100);
  std::string_view arguments[2] = {"--fast", "x=1"};
  Grant grants[2] = {{"console", port}, {"serve.me", port, rights::port::receive}};

  Result<Child> spawn(const char** what = nullptr) {
    return spawn_process({.name = "child",
                          .image = file,
                          .image_memory = initrd,
                          .arguments = arguments,
                          .grants = grants,
                          .group = group},
                         what);
  }
};

TEST(Spawn, StartsAProcessAndKeepsOnlyItsCapability) {
  Bench s;
  const usize before = s.kernel.count();
  Result<Child> child = s.spawn();
  ASSERT_TRUE(child.has_value());
  EXPECT_EQ(child->id, 7u);
  EXPECT_EQ(s.kernel.starts, 1u);
  EXPECT_EQ(s.kernel.kills, 0u);
  EXPECT_EQ(s.kernel.count(), before + 1);
  EXPECT_EQ(s.kernel.mappings(), 0u);
}

TEST(Spawn, EveryFailureGivesEverythingBack) {
  u32 steps;
  {
    Bench s;
    ASSERT_TRUE(s.spawn().has_value());
    steps = s.kernel.calls;
  }
  u32 failures = 0;
  for (u32 step = 1; step <= steps; ++step) {
    Bench s;
    const usize before = s.kernel.count();
    s.kernel.fail_at = step;
    const char* what = nullptr;
    const Result<Child> child = s.spawn(&what);
    if (child.has_value()) continue;  // a deletion or the like
    ++failures;
    EXPECT_EQ(child.error(), Status::no_memory);
    EXPECT_NE(what, nullptr);
    EXPECT_EQ(s.kernel.count(), before) << "step " << step;
    EXPECT_EQ(s.kernel.mappings(), 0u) << "step " << step;
    EXPECT_EQ(s.kernel.starts, 0u);
    EXPECT_EQ(s.kernel.kills, step == 1 ? 0u : 1u) << "step " << step;
  }
  EXPECT_GT(failures, 10u);
}

TEST(Spawn, RefusesWhatIsNoProgram) {
  Bench s;
  s.file[1] = std::byte{'X'};
  const char* what = nullptr;
  EXPECT_EQ(s.spawn(&what).status(), Status::corrupt);
  EXPECT_STREQ(what, "bad magic");
  EXPECT_EQ(s.kernel.calls, 0u);
}

}  // namespace
}  // namespace keel
