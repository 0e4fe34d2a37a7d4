// Resource groups, by name.
#pragma once

#include <cstring>
#include <string_view>

#include "user/runtime/stubs.h"

namespace keel {

// A group below `parent`, charged to it. Names are for people: the first 16 bytes count, two groups may have the same.
inline Result<CapIndex> create_group(CapIndex parent, std::string_view name) {
  u64 words[2] = {};
  std::memcpy(words, name.data(), name.size() < sizeof words ? name.size() : sizeof words);
  return sys::group_create(parent, words[0], words[1]);
}

}  // namespace keel
