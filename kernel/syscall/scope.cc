#include "kernel/syscall/scope.h"

namespace keel {

Result<u64> narrow_scope(ObjectKind kind, Rights parent_rights, u64 parent_scope, u64 wanted) {
  if (wanted == 0) return parent_scope;
  if (wanted == parent_scope && kind != ObjectKind::memory) return parent_scope;
  ScopeRange range = ScopeRange::of(wanted, 0);
  ScopeRange parent = ScopeRange::of(parent_scope, u64{1} << 32);
  switch (kind) {
    case ObjectKind::port:
      if (parent_scope != 0 || (parent_rights & rights::port::badge) == 0) return Status::missing_right;
      return wanted;
    case ObjectKind::sealer:
      if (parent_scope != 0) return Status::missing_right;
      return wanted;
    case ObjectKind::notification:
      if (parent_scope != 0 && (wanted & ~parent_scope) != 0) return Status::out_of_range;
      return wanted;
    case ObjectKind::memory:
      range.first += parent.first;
      if (range.count == 0 || range.first >> 32 != 0 || !parent.contains(range.first, range.count)) {
        return Status::out_of_range;
      }
      return range.first | range.count << 32;
    case ObjectKind::interrupt_control:
    case ObjectKind::io_ports:
      if (range.count == 0 || !parent.contains(range.first, range.count)) return Status::out_of_range;
      return wanted;
    default:
      return Status::invalid_argument;
  }
}

}  // namespace keel
