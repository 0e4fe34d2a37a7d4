// WaitSet: waits for the first of many ports, notifications and Reply objects. Each member has a key, by which it is
// reported and removed. A report says what is ready now: a member is reported again, in turn with the others, until
// nothing is to be had of it.
//
// A member is what its port, notification or Reply tells when something comes or the last of it is gone (Observer), so
// the set always knows who is ready, wherever they live. An object has one observer: it is in one set, or bound to a
// port.
//
// Invariants   I1 a member that is not gone is the observer of its target; ready_ has it exactly while something is to
//                 be had of that, or it is gone.
//              I2 one that is gone, because its target was closed or the capability that it was added through revoked,
//                 is reported once more and leaves the set with that.
//              I3 whatever comes to a port, and the first bit that comes to a notification, wakes one waiter; it looks
//                 again which member is ready. With ready_ not empty nobody begins to wait.
// Locks        the queue's (rank waitable) guards all members and the lists. Only code on a target's home adds it, or
//              removes it before it is gone.
// Lifetime     the last capability ends all waits with Revoked. The set goes from home to home to leave its members,
//              then it is freed. A member does not keep its target open.
// Costs        add, remove: O(log members). wait, a wake-up: O(1), nothing is allocated. The set's group pays for its
//              members, who adds one for the binding.
// See          docs/adr/0011-waiting-for-many.md, wait_set_test.cc
#pragma once

#include "base/intrusive_tree.h"
#include "kernel/cap/binding.h"
#include "kernel/core/shared_queue.h"
#include "kernel/object/observer.h"

namespace keel {

class WaitSet final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::wait_set;
  static Result<RefPtr<WaitSet>> create(Cpu& cpu, ResourceGroup& group);

  struct Report {
    u64 key;
    bool gone;
  };

  // The request's data is the key. Errors: busy (the object has an observer), already_exists (the key is taken),
  // no_memory, quota_exceeded, revoked, too_deep.
  Result<void> add(Cpu& cpu, const BindRequest<Observable>& target);
  // Null: it is done. Else where it must be done. Errors: not_found.
  Result<Cpu*> remove(Cpu& cpu, u64 key);
  // Errors: timed_out, cancelled, revoked. Unless a member is ready, the thread waits, and runs its call again.
  Result<Report> wait(Cpu& cpu, Thread& thread, CapIndex through, Deadline deadline);

  void on_zero_handles(Cpu& cpu) override { waiters_.wake_all(cpu, Status::revoked); }
  void wake_revoked(Cpu& cpu) override { waiters_.wake_where(cpu, is_revoked, Status::revoked); }

 private:
  friend class ObjectMaker;

  struct Member final : Observer {
    Member(WaitSet& of, u64 name) : set(of), key(name) {}
    bool observes(Cpu& cpu) override;
    void set_pending(Cpu& cpu, bool pending) override { set.update(cpu, *this, pending); }

    struct ByKey {
      u64 operator()(const Member& m) const { return m.key; }
    };
    WaitSet& set;
    const u64 key;
    Binding<Observable> target;
    TreeHook place;
    ListHook ready;
    bool gone = false;
  };

  explicit WaitSet(ResourceGroup& group) : KObject(ObjectKind::wait_set, group) {}
  Cpu* release_place(Cpu& cpu) override;
  bool release_step(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;
  // A member is ready, or not any more; or gone, and then nobody's to look at.
  void update(Cpu& cpu, Member& member, bool ready, bool gone = false);
  void take_out(Member& member) REQUIRES(waiters_.lock());
  // Of one that was taken out: at the target's home, or anywhere if it is gone.
  void free_member(Cpu& cpu, Member& member);

  SharedQueue waiters_{"wait set"};
  IntrusiveTree<Member, &Member::place, Member::ByKey> members_ GUARDED_BY(waiters_.lock());
  IntrusiveList<Member, &Member::ready> ready_ GUARDED_BY(waiters_.lock());
};

}  // namespace keel
