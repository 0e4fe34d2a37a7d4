#include "kernel/object/wait_set.h"

#include "kernel/core/cpu.h"
#include "kernel/core/process.h"
#include "kernel/mm/heap.h"

namespace keel {

Result<RefPtr<WaitSet>> WaitSet::create(Cpu& cpu, ResourceGroup& group) {
  return RefPtr<WaitSet>::adopt(TRY(make<WaitSet>(cpu, group, group)));
}

void WaitSet::destroy(Cpu& cpu) { destroy_object(cpu, group(), this); }

Result<void> WaitSet::add(Cpu& cpu, const BindRequest<Observable>& request) {
  Observable& target = request.target;
  if (target.observer() != nullptr && target.observer()->observes(cpu)) return Status::busy;
  auto* member = TRY(make<Member>(cpu, group(), *this, request.data));
  Result<void> added = member->target.bind(cpu, request);
  if (added.has_value()) {
    LockGuard guard(cpu, waiters_.lock());
    if (members_.find(request.data) != nullptr) {
      added = Status::already_exists;
    } else {
      members_.insert(*member);
      target.set_observer(member);
    }
  }
  if (!added.has_value()) {
    free_member(cpu, *member);
    return added;
  }
  if (target.is_pending()) update(cpu, *member, true);
  return {};
}

Result<Cpu*> WaitSet::remove(Cpu& cpu, u64 key) {
  Member* member = nullptr;
  {
    LockGuard guard(cpu, waiters_.lock());
    member = members_.find(key);
    if (member == nullptr) return Status::not_found;
    Cpu* const home = member->target.held()->home();
    if (!member->gone && home != &cpu) return home;
    take_out(*member);
  }
  free_member(cpu, *member);
  return static_cast<Cpu*>(nullptr);
}

void WaitSet::take_out(Member& member) {
  members_.erase(member);
  if (member.ready.linked()) ready_.remove(member);
}

void WaitSet::free_member(Cpu& cpu, Member& member) {
  Observable* target = member.target.held();
  if (!member.gone && target != nullptr && target->observer() == &member) target->set_observer(nullptr);
  member.target.release(cpu);
  destroy_object(cpu, group(), &member);
}

Result<WaitSet::Report> WaitSet::wait(Cpu& cpu, Thread& thread, CapIndex through, Deadline deadline) {
  Member* member = nullptr;
  Report report{};
  {
    LockGuard guard(cpu, waiters_.lock());
    member = ready_.pop_front();
    if (member == nullptr) {
      if (!thread.process->caps.find(through).has_value()) return Status::revoked;  // nobody would wake it
      if (thread.take_cancel()) return Status::cancelled;
      if (deadline == kPoll) return Status::timed_out;
      thread.begin_wait(cpu, WaitKind::set, this, through, deadline);
      waiters_.add(thread);
      return report;
    }
    report = {member->key, member->gone};
    if (member->gone) {
      members_.erase(*member);
    } else {
      ready_.push_back(*member);
    }
  }
  if (report.gone) free_member(cpu, *member);
  return report;
}

void WaitSet::update(Cpu& cpu, Member& member, bool ready, bool gone) {
  WaitQueue claimed;
  {
    LockGuard guard(cpu, waiters_.lock());
    member.gone = gone;
    if (ready != member.ready.linked()) ready ? ready_.push_back(member) : ready_.remove(member);
    if (ready) (void)waiters_.claim(1, [](const Thread&) { return true; }, claimed);
  }
  SharedQueue::wake(cpu, claimed, Status::restart, 0);
}

bool WaitSet::Member::observes(Cpu& cpu) {
  Observable& observed = *target.held();
  if (!target.is_revoked() && observed.handles() != 0) return true;
  observed.set_observer(nullptr);
  set.update(cpu, *this, true, true);
  return false;
}

// No thread knows the set any more, but its members' targets do.
Cpu* WaitSet::release_place(Cpu& cpu) {
  LockGuard guard(cpu, waiters_.lock());
  const Member* member = members_.first();
  return member == nullptr || member->gone ? nullptr : member->target.held()->home();
}

bool WaitSet::release_step(Cpu& cpu) {
  const Member* next = nullptr;
  {
    LockGuard guard(cpu, waiters_.lock());
    next = members_.first();
  }
  if (next != nullptr) (void)remove(cpu, next->key);
  return next == nullptr;
}

}  // namespace keel
