// IntrusiveList: a doubly linked list whose links live in the elements. Joining never allocates.
//
// Invariants   I1 an element is in at most one list per hook. I2 a hook that dies is in no list (trapped).
// Locks        none; the owner's.
// Costs        every operation O(1), except size() which is O(n) and meant for tests.
#pragma once

#include "base/types.h"

namespace keel {

class ListHook {
 public:
  ListHook() = default;
  ListHook(const ListHook&) = delete;
  ListHook& operator=(const ListHook&) = delete;
  ~ListHook() {
    if (linked()) __builtin_trap();  // I2
  }
  bool linked() const { return next_ != nullptr; }
  // Leaves whatever list this hook is in; needs no reference to the list.
  void unlink() {
    prev_->next_ = next_;
    next_->prev_ = prev_;
    next_ = prev_ = nullptr;
  }

 private:
  template <class T, ListHook T::* Hook>
  friend class IntrusiveList;
  ListHook* next_ = nullptr;
  ListHook* prev_ = nullptr;
};

template <class T, ListHook T::* Hook>
class IntrusiveList {
 public:
  IntrusiveList() { head_.next_ = head_.prev_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    if (!empty()) __builtin_trap();
    head_.next_ = head_.prev_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  T* front() { return empty() ? nullptr : owner(head_.next_); }
  T* back() { return empty() ? nullptr : owner(head_.prev_); }
  void push_back(T& item) { insert_before_hook(head_, item.*Hook); }
  void push_front(T& item) { insert_before_hook(*head_.next_, item.*Hook); }
  void insert_before(T& where, T& item) { insert_before_hook(where.*Hook, item.*Hook); }
  void remove(T& item) { (item.*Hook).unlink(); }
  T* pop_front() {
    T* item = front();
    if (item != nullptr) remove(*item);
    return item;
  }
  // The element after `item`, or null at the end. `item` must be in this list.
  T* next(T& item) { return (item.*Hook).next_ == &head_ ? nullptr : owner((item.*Hook).next_); }
  // Moves all of `other` to the back of this list.
  void splice_back(IntrusiveList& other) {
    if (other.empty()) return;
    ListHook* first = other.head_.next_;
    ListHook* last = other.head_.prev_;
    other.head_.next_ = other.head_.prev_ = &other.head_;
    first->prev_ = head_.prev_;
    head_.prev_->next_ = first;
    last->next_ = &head_;
    head_.prev_ = last;
  }
  usize size() const {
    usize n = 0;
    for (const ListHook* h = head_.next_; h != &head_; h = h->next_) ++n;
    return n;
  }

 private:
  static void insert_before_hook(ListHook& where, ListHook& hook) {
    if (hook.linked()) __builtin_trap();  // I1
    hook.next_ = &where;
    hook.prev_ = where.prev_;
    where.prev_->next_ = &hook;
    where.prev_ = &hook;
  }
  // SAFETY: every hook reachable from head_, except head_ itself, was passed to insert_* as `item.*Hook`,
  // so it lies at that member's offset inside a live T.
  static T* owner(ListHook* hook) { return reinterpret_cast<T*>(reinterpret_cast<char*>(hook) - offset()); }
  static usize offset() {
    return reinterpret_cast<usize>(&(reinterpret_cast<T*>(kProbeAddress)->*Hook)) - kProbeAddress;
  }
  static constexpr usize kProbeAddress = 0x10000;

  ListHook head_;
};

}  // namespace keel
