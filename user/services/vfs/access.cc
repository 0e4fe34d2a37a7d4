#include "user/services/vfs/access.h"

namespace keel::vfs {

bool SessionAccess::reaches(std::string_view path) const {
  if (all()) return true;
  for (const FixedString<255>& scope : paths) {
    if (scope.view() == "/") return true;
    if (path.starts_with(scope.view()) && (path.size() == scope.size() || path[scope.size()] == '/')) return true;
  }
  return false;
}

Result<const SessionAccess*> AccessTable::of(u64 badge) {
  for (const auto& known : known_) {
    if (known->badge == badge) return &known->access;
  }
  std::unique_ptr<Known> made(new (std::nothrow) Known{badge, {}});
  if (made == nullptr) return Status::no_memory;
  for (u64 i = 0;; ++i) {
    const Result<ManagerFileAccessResult> next = manager_.file_access(badge, i);
    if (!next.has_value()) return next.error();
    made->access.labelled = next->labelled;
    if (next->path.empty()) break;
    if (!made->access.paths.push_back(next->path)) return Status::too_big;
  }
  known_.push_back(std::move(made));
  return &known_.back()->access;
}

Result<void> Caller::check(std::string_view path, const NodeInfo& node, u32 wanted) const {
  if (!access_.reaches(path) || !may(node, wanted)) return Status::access_denied;
  if (!limited_ || wanted == 0) return {};
  const u32 left = TRY(permit(labels_, path.empty() ? "/" : path, wanted, wanted));
  return left == wanted ? Result<void>() : Status::access_denied;
}

}  // namespace keel::vfs
