#include "user/runtime/capabilities.h"

#include "user/runtime/stubs.h"
#include "user/runtime/thread_block.h"

namespace keel {

void Cap::reset() {
  if (index_ != kNoCapability) delete_quietly(release());
}

Result<Cap> derive(CapIndex capability, Rights rights, u64 scope) {
  return own(sys::cap_derive(capability, rights, scope));
}

void delete_quietly(CapIndex capability) {
  const LastError before = last_error();
  static_cast<void>(sys::cap_delete(capability));
  last_error() = before;
}

ObjectKind kind_of(CapIndex capability) {
  const Result<sys::CapInfoResult> info = sys::cap_info(capability);
  return info.has_value() ? static_cast<ObjectKind>(info->kind_rights & 0xff) : ObjectKind::none;
}

Result<CapIndex> require_capability(std::string_view name) {
  const CapIndex index = find_capability(name);
  if (index == kNoCapability) return Status::not_found;
  return index;
}

}  // namespace keel
