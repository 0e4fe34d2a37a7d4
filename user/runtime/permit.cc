#include "user/runtime/permit.h"

#include "idl/permission.h"
#include "user/runtime/capabilities.h"
#include "user/runtime/clock.h"
#include "user/runtime/stubs.h"

namespace keel {

constexpr u64 kHookPatience = 2 * kSecond;

Result<Labels> caller_labels() {
  const sys::CallerLabelsResult labels = TRY(sys::caller_labels());
  return Labels{static_cast<u32>(labels.uid), static_cast<u32>(labels.gid)};
}

u32 access_by_mode(const Labels& who, u32 owner, u32 group, u32 mode) {
  const u32 shift = who.uid != kNoLabel && who.uid == owner ? 6 : who.gid != kNoLabel && who.gid == group ? 3 : 0;
  return mode >> shift & 7;
}

Result<u32> permit(const Labels& who, std::string_view object, u32 wanted, u32 allowed) {
  return permit_by(find_capability("permission"), who, object, wanted, allowed);
}

Result<u32> permit_by(CapIndex hook, const Labels& who, std::string_view object, u32 wanted, u32 allowed) {
  allowed &= wanted;
  if (allowed == 0 || hook == kNoCapability) return allowed;
  return TRY(PermissionClient(hook).check(who.uid, who.gid, object, allowed, after(kHookPatience))) & allowed;
}

}  // namespace keel
