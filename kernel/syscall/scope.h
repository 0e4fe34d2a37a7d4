// What a capability's scope means, by kind of object (abi/objects.toml), and how a derivation may narrow it.
#pragma once

#include "abi/objects.h"
#include "base/result.h"

namespace keel {

// A range in a scope: first in the low half, count in the high half. Scope 0 is the whole object.
struct ScopeRange {
  u64 first = 0;
  u64 count = 0;
  static constexpr ScopeRange of(u64 scope, u64 whole) {
    return scope == 0 ? ScopeRange{0, whole} : ScopeRange{scope & 0xffffffff, scope >> 32};
  }
  constexpr bool contains(u64 index, u64 n = 1) const {
    return index >= first && n <= count && index - first <= count - n;
  }
};

// The scope of a child that asks for `wanted` (0: the parent's) under a capability with this scope and these rights.
// Ranges of memory are counted from the parent's first page; lines and ports have absolute numbers.
// Errors: out_of_range (outside the parent's), missing_right (a badge without the right badge, or a second one),
// invalid_argument (the kind has no scope).
Result<u64> narrow_scope(ObjectKind kind, Rights parent_rights, u64 parent_scope, u64 wanted);

}  // namespace keel
