// Observer: who is told what one notification, port or Reply has to give: the port that a notification is bound to, a
// member of a wait set.
//
// Locks        none: everything here happens on the home CPU of what is observed.
// Costs        the fast paths know only whether a notification has an observer. A port with a waiting receiver gives
//              at once and has nothing to tell.
#pragma once

#include "kernel/object/object.h"

namespace keel {

class Observer {
 public:
  // Takes the bits of a signal that nobody waits for, if it knows somebody who wants them.
  virtual bool deliver_signal(Cpu&, u64) { return false; }
  // Something has come, or nothing is left.
  virtual void set_pending(Cpu& cpu, bool pending) = 0;
  // False: it has let go, because what bound it was revoked or the object was closed.
  virtual bool observes(Cpu& cpu) = 0;

 protected:
  ~Observer() = default;
};

class Observable : public KObject {
 public:
  Observer* observer() const { return observer_; }
  void set_observer(Observer* observer) { observer_ = observer; }
  virtual bool is_pending() const = 0;

 protected:
  using KObject::KObject;
  ~Observable() override = default;
  // After an event that may have parted the two.
  void check_observer(Cpu& cpu) {
    if (observer_ != nullptr) (void)observer_->observes(cpu);
  }

  Observer* observer_ = nullptr;
};

}  // namespace keel
