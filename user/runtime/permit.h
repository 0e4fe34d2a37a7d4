// permit: what a service may do for its current caller, beyond what the capability that was called says. Labels and
// hooks only reduce: nobody gets anything by them that his capability does not give.
//
//   const Labels who = TRY(caller_labels());                     // at the start of a handler
//   const u32 mine = access_by_mode(who, uid, gid, mode);        // the service's own rules
//   if (TRY(permit(who, path, kAccessRead, mine)) != kAccessRead) return Status::access_denied;
//
// The hook is the port `permission`, for services whose manifest says `uses = permission`. Without one, the service's
// own rules decide alone. One that does not answer within kHookPatience allows nothing.
// Costs        one system call for the labels; one call of the hook, if there is one.
// See          idl/permission.idl, permit_test.cc
#pragma once

#include <string_view>

#include "abi/types.h"
#include "base/result.h"
#include "base/types.h"

namespace keel {

inline constexpr u32 kNoLabel = ~u32{0};

struct Labels {
  u32 uid = kNoLabel;
  u32 gid = kNoLabel;
  bool any() const { return uid != kNoLabel || gid != kNoLabel; }
};

// Those of the process whose call is being handled. Errors: bad_state (no call is, or it was answered).
Result<Labels> caller_labels();

enum AccessBits : u32 { kAccessExecute = 1, kAccessWrite = 2, kAccessRead = 4 };

// What the nine permission bits of an object of this owner and group leave. Who has no label is neither owner nor in
// the group. There is no superuser.
u32 access_by_mode(const Labels& who, u32 owner, u32 group, u32 mode);

// The part of `wanted` that the service's rules (`allowed`) and the hook both leave. Errors: those of calling the hook.
Result<u32> permit(const Labels& who, std::string_view object, u32 wanted, u32 allowed);
// The same with the hook named; kNoCapability: none.
Result<u32> permit_by(CapIndex hook, const Labels& who, std::string_view object, u32 wanted, u32 allowed);

}  // namespace keel
