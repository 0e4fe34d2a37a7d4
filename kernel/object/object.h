// KObject: what a capability names. Every kernel object derives from it.
//
// Two lifetimes are kept apart. The last *handle* (a capability in a slot or in a message) closes the object for its
// users: on_zero_handles(). The last *reference* frees its memory, never in place but through the work queue of a CPU
// (Work), so that long chains do not recurse and no lock is held, and not before a grace period, because others may
// still hold it as a borrow (kernel/core/grace.h); if one of them has taken a reference meanwhile, it lives on.
//
// Homes (ADR 7): a homed object's state is touched on its home CPU only. What happens to it elsewhere is posted there.
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

// Something that finishes later in bounded steps, between which the kernel can be preempted (freeing an object,
// tearing down a process), or that travels to another CPU. See kernel/core/work.h.
class Work {
 public:
  Work() = default;
  virtual ~Work() = default;
  // Does at most a few thousand instructions of work. True when the queue has no more to do with it: nothing is left
  // and the item may be gone, or it went elsewhere.
  virtual bool step(Cpu& cpu) = 0;
  // It was sent here by mail (Cpu::send). At most a system call's worth of work. If not overridden: steps begin.
  virtual void arrive(Cpu& cpu);

 private:
  friend class WorkQueue;
  friend class Orphanage;
  friend class Grace;
  Work* next_work_ = nullptr;
};

// Kinds whose state belongs to one CPU. All others have locks, or none to speak of.
constexpr bool is_homed(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::thread:
    case ObjectKind::port:
    case ObjectKind::reply:
    case ObjectKind::notification:
    case ObjectKind::timer:
    case ObjectKind::interrupt:
    case ObjectKind::dma_domain:
    case ObjectKind::scheduling_context:
      return true;
    default:
      return false;
  }
}

namespace arch {
class EntryLayout;
}

class KObject : public Work {
 public:
  ObjectKind kind() const { return kind_; }
  // The CPU that a homed object belongs to. Only code on that CPU changes it; others may read it to know where to go.
  Cpu* home() const { return home_.load(kAcquire); }       // pairs with set_home()
  const Atomic<Cpu*>& home_word() const { return home_; }  // for the fast paths, which compare it in place
  // On the home CPU, when nobody waits in the object: from now on it belongs to `to`.
  void set_home(Cpu& to) { home_.store(&to, kRelease); }  // what was done here is seen there
  // Not homed, or homed here.
  bool is_local(const Cpu& cpu) const { return home() == &cpu || !is_homed(kind_); }
  ResourceGroup& group() const { return *group_; }
  Machine& machine() const;
  // Unique for the life of the machine; what logs and `ps` show.
  u64 id() const { return id_; }

  void add_ref() { refs_.fetch_add(1, kRelaxed); }
  // For who found the object in a list that holds no reference. False: the last one is gone, it is about to be freed.
  bool try_ref() {
    u32 refs = refs_.load(kRelaxed);
    while (refs != 0 && !refs_.compare_exchange(&refs, refs + 1, kRelaxed)) {
    }
    return refs != 0;
  }
  // On the last reference the object goes to the work queue of whichever CPU leaves the kernel next.
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
  bool has_revoked_regions() const REQUIRES(tree_lock_) { return revoked_regions_ != nullptr || regions_in_hand_ > 0; }
  // Unmaps one. True when none is left, here or in another CPU's hands.
  bool finish_revoked_region(Cpu& cpu) EXCLUDES(tree_lock_);

  // A capability with these rights came or went, on any CPU. No lock is held when it goes. Called for objects that
  // count rights only.
  virtual void on_handle_dropped(Cpu&, Rights) {}
  virtual void on_handle_added(Rights) {}
  // At home: the last capability went.
  virtual void on_zero_handles(Cpu&) {}
  // At home, after a revocation: wakes every waiter whose capability is no longer valid, with Status::revoked.
  virtual void wake_revoked(Cpu&) {}

  // Things that happen to an object anywhere and that its home CPU has to act on.
  static constexpr u32 kZeroHandles = 1;
  static constexpr u32 kOwnEvent = 2;  // what it is the kind knows: on_event()
  static constexpr u32 kRevoked = 4;
  // Acts on the events at once when the object is local, else makes its home do so, soon.
  void post(Cpu& cpu, u32 events);
  virtual void on_event(Cpu&) {}
  // From home, for what is too much for one entry: acts on the events again, soon.
  void post_again(Cpu& cpu, u32 events);

  bool step(Cpu& cpu) override;    // frees the object
  void arrive(Cpu& cpu) override;  // what was posted

 protected:
  // `group` pays for the object and is kept alive by it. The new object has one reference, the creator's.
  KObject(ObjectKind kind, ResourceGroup& group);
  // For the first group of a machine, which pays for itself and is not constructed yet.
  KObject(ObjectKind kind, ResourceGroup& group, Machine& machine);
  ~KObject() override;
  void count_rights() { counts_rights_ = true; }
  // Nobody refers to the object any more: takes it out of tables where others could find it without a reference.
  virtual void unpublish(Cpu&) {}
  // The CPU that the object must be released on; null: any.
  virtual Cpu* release_place(Cpu&) { return is_homed(kind_) ? home() : nullptr; }
  // Gives back what the object holds, in bounded steps; true when done. Called with no references or borrows left.
  virtual bool release_step(Cpu&) { return true; }
  // Returns the object's own memory to the heap.
  virtual void destroy(Cpu& cpu) = 0;

 private:
  // The way of an object without references: orphaned, unpublished, retired, released.
  enum class End : u8 { none, orphaned, retired, releasing };
  void act_on(Cpu& cpu, u32 events);

  friend class arch::EntryLayout;  // where entry code finds the id
  Atomic<Cpu*> home_{nullptr};
  Atomic<u32> refs_{1};
  Atomic<u32> handles_{0};
  Atomic<u32> posted_{0};
  Atomic<End> end_{End::none};
  ObjectKind kind_;
  bool counts_rights_ = false;
  u32 revoking_ GUARDED_BY(tree_lock_) = 0;
  CapNode* revoked_regions_ GUARDED_BY(tree_lock_) = nullptr;
  u32 regions_in_hand_ GUARDED_BY(tree_lock_) = 0;  // taken off that list, being unmapped, by whichever CPU
  SpinLock tree_lock_{LockRank::object, "object tree"};
  ResourceGroup* group_;
  u64 id_;
};

}  // namespace keel
