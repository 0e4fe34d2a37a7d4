// spawn_process: makes a process out of an ELF image and hands it exactly what is listed. A failure leaves nothing
// behind.
#pragma once

#include <span>
#include <string_view>

#include "user/runtime/capabilities.h"
#include "user/runtime/permit.h"

namespace keel {

// What the child receives under a name.
struct Grant {
  std::string_view name;
  CapIndex source;    // ours; with the rights transfer and derive
  Rights rights = 0;  // 0: all that ours has
  u64 scope = 0;      // 0: that of ours
};

struct SpawnRequest {
  std::string_view name;
  std::span<const std::byte> image;  // the ELF file, readable here
  // The memory object that holds the file, from byte image_offset on: read-only segments are then shared with it. Not
  // given, or not page aligned: all segments are copied.
  CapIndex image_memory = kNoCapability;
  u64 image_offset = 0;
  std::span<const std::string_view> arguments;
  std::span<const Grant> grants;
  CapIndex group;  // pays for the child, and is its self.group
  // Its labels, and kernel_control with the right `label`, which is needed to give any.
  CapIndex label_authority = kNoCapability;
  Labels labels{};
  u32 level = kNormalLevel;
  u64 stack_pages = 32;
};

struct Child {
  Cap process;  // all rights
  u64 id = 0;
};

// Errors: corrupt, not_supported (the image), too_big (arguments or grants beyond a start block), those of the calls.
// *what, if asked for, names the step that failed; static text.
Result<Child> spawn_process(const SpawnRequest& request, const char** what = nullptr);

}  // namespace keel
