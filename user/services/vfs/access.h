// What a session of the vfs reaches, and what its caller may do there. A session is what a manifest gave: all files, or
// the paths of its file_read(PATH). Labels reduce that further, by the permission bits of the files and by the
// permission hook, if there is one; they count when the caller has any, or when the service that the session is for was
// given some. So a labelled service does not get rid of its labels by starting a program that has none: that is one of
// the others.
//
// Lifetime     a manifest does not change before the next boot: what the service manager says is kept.
// See          user/runtime/permit.h, access_test.cc
#pragma once

#include <memory>
#include <vector>

#include "base/fixed.h"
#include "base/inplace_vector.h"
#include "idl/manager.h"
#include "idl/vfs.h"
#include "user/runtime/permit.h"

namespace keel::vfs {

struct SessionAccess {
  InplaceVector<FixedString<255>, 16> paths;  // none: all
  bool labelled = false;

  // `path` is canonical: "" is the root.
  bool reaches(std::string_view path) const;
  bool all() const { return paths.size() == 0; }
};

class AccessTable {
 public:
  explicit AccessTable(ManagerClient manager) : manager_(manager) {}
  // Errors: those of asking the service manager. Who cannot be looked up gets nothing.
  Result<const SessionAccess*> of(u64 badge);

 private:
  struct Known {
    u64 badge;
    SessionAccess access;
  };
  ManagerClient manager_;
  std::vector<std::unique_ptr<Known>> known_;
};

// Whoever makes the request that is being answered.
class Caller {
 public:
  Caller(const SessionAccess& access, const Labels& labels)
      : access_(access), labels_(labels), limited_(access.labelled || labels.any()) {}
  // Whether he gets less than the whole of a file system's port.
  bool is_restricted() const { return limited_ || !access_.all(); }
  bool may_search(const NodeInfo& directory) const { return may(directory, kAccessExecute); }
  // Errors: access_denied, those of the hook.
  Result<void> check(std::string_view path, const NodeInfo& node, u32 wanted) const;

 private:
  bool may(const NodeInfo& node, u32 wanted) const {
    return !limited_ || (access_by_mode(labels_, node.uid, node.gid, node.mode) & wanted) == wanted;
  }
  const SessionAccess& access_;
  Labels labels_;
  bool limited_;
};

}  // namespace keel::vfs
