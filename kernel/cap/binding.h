// Binding: what an object keeps of another for longer than a call: the notification of a timer, an interrupt, a port, a
// watched process, a group or a budget; the port that handles a process's faults. A binding is a node in its target's
// tree, below the capability that was shown for it, so revoking that capability's parent unbinds.
//
// Invariants   I1 a bound Binding has a node, charged to the group of who bound; the node keeps its reference to the
//                 target until the Binding lets go of it, revoked or not.
//              I2 a revoked binding has no target; its node goes with the next bind(), release() or the owner.
// Locks        none of its own: it belongs to its owner, is used on its home CPU or under its lock. A revocation, from
//              wherever, touches the node only, under the target's tree lock.
// Lifetime     part of its owner, which releases it before it dies. It does not keep the target open: a target whose
// last
//              capability went is closed as ever.
// Costs        get: a load and a test. bind: one node of 64 bytes; O(1).
// See          docs/subsystems/capabilities.md, binding_test.cc
#pragma once

#include <utility>

#include "kernel/cap/node.h"

namespace keel {

// `holder` of the node is the group that pays.
struct BindingNode : CapNode {
  Atomic<bool> revoked{false};
};
static_assert(sizeof(BindingNode) == sizeof(CapNode));  // it lies in the padding

// What is to be bound, through what, at whose cost.
template <class T>
struct BindRequest {
  T& target;
  CapNode* parent;  // of the capability shown; null: the kernel's own
  ResourceGroup& payer;
  u64 data = 0;  // bits to signal, badge
};

class BindingBase {
 public:
  BindingBase() = default;
  BindingBase(const BindingBase&) = delete;
  BindingBase& operator=(const BindingBase&) = delete;
  ~BindingBase() {
    if (node_ != nullptr) __builtin_trap();
  }

  void release(Cpu& cpu);
  void swap(BindingBase& other) { std::swap(node_, other.node_); }
  bool is_revoked() const { return node_ != nullptr && node_->revoked.load(kAcquire); }  // pairs with revoke()
  u64 data() const { return node_ == nullptr ? 0 : node_->data; }
  // A revocation took the node out of the tree; whose reference to the target stays.
  static void revoke(CapNode& node) { static_cast<BindingNode&>(node).revoked.store(true, kRelease); }

 protected:
  // Takes the place of what was bound before. Errors: no_memory, quota_exceeded, revoked, too_deep; that stays then.
  Result<void> bind(Cpu& cpu, KObject& target, CapNode* parent, ResourceGroup& payer, u64 data);
  KObject* held() const { return node_ == nullptr ? nullptr : node_->object; }
  KObject* get() const {
    const BindingNode* node = node_;
    if (node == nullptr || node->revoked.load(kAcquire)) return nullptr;  // pairs with revoke()
    __builtin_assume(node->object != nullptr);
    return node->object;
  }

 private:
  BindingNode* node_ = nullptr;
};

template <class T>
class Binding : public BindingBase {
 public:
  Result<void> bind(Cpu& cpu, const BindRequest<T>& r) {
    return BindingBase::bind(cpu, r.target, r.parent, r.payer, r.data);
  }
  // Null when nothing is bound, or what was is revoked.
  T* get() const { return static_cast<T*>(BindingBase::get()); }
  // Also when it is revoked.
  T* held() const { return static_cast<T*>(BindingBase::held()); }
  // Sets the binding's bits.
  void signal(Cpu& cpu) const {
    if (T* target = get()) target->signal(cpu, data());
  }
};

}  // namespace keel
