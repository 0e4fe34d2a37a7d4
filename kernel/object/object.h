// KObject: what a capability names. Every kernel object derives from it.
//
// Two lifetimes are kept apart. The last *handle* (a capability in a slot or in a message) closes the object for its
// users: on_zero_handles(). The last *reference* frees its memory, never in place but through the work queue of a CPU
// (Work), so that long chains do not recurse and no lock is held.
//
// Invariants   I1 every live CapNode of the object holds one reference; slot and message nodes also count as handles.
//              I2 while revoking_ > 0 a derivation checks its ancestors for a dying one
//              (docs/subsystems/capabilities.md). I3 an object whose references reached zero is reached by nobody: it
//              is on a work queue or freed.
// Locks        tree_lock_ (rank object) guards the derivation tree, that is the links of all CapNodes of the object.
// See          docs/adr/0002-capabilities-and-derivation.md, kernel/cap/node.h
#pragma once

#include <span>

#include "abi/objects.h"
#include "base/atomic.h"
#include "base/intrusive_list.h"
#include "base/ref_ptr.h"
#include "base/result.h"
#include "kernel/core/lock.h"

namespace keel {

class Cpu;
class Machine;
class ResourceGroup;
struct CapNode;

// Something that finishes later in bounded steps, between which the kernel can be preempted: freeing an object,
// tearing down a process. See kernel/core/work.h.
class Work {
 public:
  Work() = default;
  virtual ~Work() = default;
  // Does at most a few thousand instructions of work. True when nothing is left; the item may be gone then.
  virtual bool step(Cpu& cpu) = 0;

 private:
  friend class WorkQueue;
  Work* next_work_ = nullptr;
};

namespace arch {
class EntryLayout;
}

class KObject : public Work {
 public:
  ObjectKind kind() const { return kind_; }
  ResourceGroup& group() const { return *group_; }
  Machine& machine() const;
  // Unique for the life of the machine; what logs and `ps` show.
  u64 id() const { return id_; }

  void add_ref() { refs_.fetch_add(1, kRelaxed); }
  // On the last reference the object goes to its machine's work queue. Pairs: release/acquire, so that all uses
  // happen before the memory is freed.
  void drop_ref() { drop_refs(1); }
  void drop_refs(u32 count);
  void add_handle(Rights rights) {
    handles_.fetch_add(1, kRelaxed);
    if (counts_rights_) on_handle_added(rights);
  }
  void drop_handle(Cpu& cpu, Rights rights) { drop_handles(cpu, {&rights, 1}); }
  void drop_handles(Cpu& cpu, std::span<const Rights> rights);
  u32 handles() const { return handles_.load(kRelaxed); }

  SpinLock& tree_lock() RETURNS_LOCK(tree_lock_) { return tree_lock_; }
  u32 revoking() const REQUIRES(tree_lock_) { return revoking_; }
  void begin_revoke() REQUIRES(tree_lock_) { ++revoking_; }
  void end_revoke() REQUIRES(tree_lock_) { --revoking_; }
  // Regions whose nodes a revocation took out of the tree and that are still to be unmapped: kept here, because the
  // revocation may be preempted before it has done so, and any revoker may finish it.
  void add_revoked_region(CapNode& node) REQUIRES(tree_lock_);
  bool finish_revoked_region(Cpu& cpu) EXCLUDES(tree_lock_);

  // A capability with these rights went. Wakes whoever can no longer be reached. No lock is held. Both are called for
  // objects that count rights only.
  virtual void on_handle_dropped(Cpu&, Rights) {}
  virtual void on_handle_added(Rights) {}
  // The last capability went.
  virtual void on_zero_handles(Cpu&) {}
  // After a revocation: wakes every waiter whose capability is no longer valid, with Status::revoked.
  virtual void wake_revoked(Cpu&) {}

  bool step(Cpu& cpu) override;  // frees the object

 protected:
  // `group` pays for the object and is kept alive by it. The new object has one reference, the creator's.
  KObject(ObjectKind kind, ResourceGroup& group);
  // For the first group of a machine, which pays for itself and is not constructed yet.
  KObject(ObjectKind kind, ResourceGroup& group, Machine& machine);
  ~KObject() override;
  void count_rights() { counts_rights_ = true; }
  // Gives back what the object holds, in bounded steps; true when done. Called with no references left.
  virtual bool release_step(Cpu&) { return true; }
  // Returns the object's own memory to the heap.
  virtual void destroy(Cpu& cpu) = 0;

 private:
  friend class arch::EntryLayout;  // where entry code finds the id
  Atomic<u32> refs_{1};
  Atomic<u32> handles_{0};
  ObjectKind kind_;
  bool counts_rights_ = false;
  u32 revoking_ GUARDED_BY(tree_lock_) = 0;
  CapNode* revoked_regions_ GUARDED_BY(tree_lock_) = nullptr;
  SpinLock tree_lock_{LockRank::object, "object tree"};
  ResourceGroup* group_;
  u64 id_;
};

}  // namespace keel
