#include "user/runtime/last_error.h"

#include "user/runtime/stubs.h"

namespace keel {

Explanation explain_last_error() {
  Explanation e;
  e.error = last_error();
  const u32 number = static_cast<u32>(e.error.call);
  e.expected = call_object(number);
  e.needed = call_rights(number);
  e.missing = e.needed;
  const Result<sys::CapInfoResult> info = sys::cap_info(e.error.capability);
  if (info.has_value()) {
    e.found = static_cast<ObjectKind>(info->kind_rights & 0xff);
    e.missing = static_cast<Rights>(e.needed & ~(info->kind_rights >> 16));
  }
  last_error() = e.error;
  return e;
}

}  // namespace keel
