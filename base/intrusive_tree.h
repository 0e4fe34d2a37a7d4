// IntrusiveTree: an ordered tree (AVL) whose links live in the elements. Joining never allocates.
//
//   struct Timer { u64 deadline; TreeHook hook; };
//   struct ByDeadline { u64 operator()(const Timer& t) const { return t.deadline; } };
//   IntrusiveTree<Timer, &Timer::hook, ByDeadline> queue;
//
// Elements with equal keys are kept in the order of their insertion: a later one comes after an earlier one.
//
// Invariants   I1 an element is in at most one tree per hook. I2 a hook that dies is in no tree (trapped).
//              I3 in-order the keys never decrease. I4 the heights of two siblings differ by at most one.
//              I5 first_ is the left-most element, or null. The key of an element in a tree never changes.
// Locks        none; the owner's.
// Costs        first() O(1); all others O(log n) in the worst case: height <= 1.44 log2(n + 2).
// See          Knuth, The Art of Computer Programming 6.2.3; intrusive_tree_test.cc
#pragma once

#include "base/types.h"

namespace keel {

class TreeHook {
 public:
  TreeHook() = default;
  TreeHook(const TreeHook&) = delete;
  TreeHook& operator=(const TreeHook&) = delete;
  ~TreeHook() {
    if (linked()) __builtin_trap();  // I2
  }
  bool linked() const { return height_ != 0; }

 private:
  friend class TreeCore;
  template <class T, TreeHook T::* Hook, class KeyOf>
  friend class IntrusiveTree;
  TreeHook* parent_ = nullptr;
  TreeHook* left_ = nullptr;
  TreeHook* right_ = nullptr;
  u32 height_ = 0;  // of the subtree with this hook at its top; 0: in no tree
};

// The part that knows no keys: links, rotation, in-order steps.
class TreeCore {
 public:
  TreeCore() = default;
  TreeCore(const TreeCore&) = delete;
  TreeCore& operator=(const TreeCore&) = delete;

  static TreeHook* left_most(TreeHook* n) {
    while (n != nullptr && n->left_ != nullptr) n = n->left_;
    return n;
  }
  static TreeHook* right_most(TreeHook* n) {
    while (n != nullptr && n->right_ != nullptr) n = n->right_;
    return n;
  }
  static TreeHook* next(TreeHook* n) {
    if (n->right_ != nullptr) return left_most(n->right_);
    while (n->parent_ != nullptr && n == n->parent_->right_) n = n->parent_;
    return n->parent_;
  }
  static TreeHook* prev(TreeHook* n) {
    if (n->left_ != nullptr) return right_most(n->left_);
    while (n->parent_ != nullptr && n == n->parent_->left_) n = n->parent_;
    return n->parent_;
  }

  TreeHook* root() const { return root_; }
  TreeHook* first() const { return first_; }

  // Hangs `node` into the empty place `*link` below `parent` (null: the root).
  void attach(TreeHook* node, TreeHook* parent, bool on_left) {
    if (node->linked()) __builtin_trap();  // I1
    node->parent_ = parent;
    node->left_ = node->right_ = nullptr;
    node->height_ = 1;
    if (parent == nullptr) {
      root_ = first_ = node;
      return;
    }
    (on_left ? parent->left_ : parent->right_) = node;
    if (on_left && parent == first_) first_ = node;
    rebalance_from(parent);
  }

  void detach(TreeHook* node) {
    if (!node->linked()) __builtin_trap();
    if (node == first_) first_ = next(node);
    TreeHook* unbalanced = node->parent_;
    if (node->left_ == nullptr || node->right_ == nullptr) {
      TreeHook* child = node->left_ != nullptr ? node->left_ : node->right_;
      replace(node, child);
    } else {
      // The successor has no left child; it takes the place of `node`.
      TreeHook* heir = left_most(node->right_);
      unbalanced = heir->parent_ == node ? heir : heir->parent_;
      if (heir->parent_ != node) {
        replace(heir, heir->right_);
        heir->right_ = node->right_;
        heir->right_->parent_ = heir;
      }
      replace(node, heir);
      heir->left_ = node->left_;
      heir->left_->parent_ = heir;
      heir->height_ = node->height_;
    }
    node->parent_ = node->left_ = node->right_ = nullptr;
    node->height_ = 0;
    rebalance_from(unbalanced);
  }

 private:
  static u32 height(const TreeHook* n) { return n == nullptr ? 0 : n->height_; }
  static void update(TreeHook* n) {
    const u32 l = height(n->left_);
    const u32 r = height(n->right_);
    n->height_ = 1 + (l > r ? l : r);
  }
  // Puts `with` (may be null) where `node` hangs.
  void replace(TreeHook* node, TreeHook* with) {
    TreeHook* parent = node->parent_;
    if (parent == nullptr) {
      root_ = with;
    } else {
      (parent->left_ == node ? parent->left_ : parent->right_) = with;
    }
    if (with != nullptr) with->parent_ = parent;
  }
  TreeHook* rotate_left(TreeHook* n) {
    TreeHook* top = n->right_;
    replace(n, top);
    n->right_ = top->left_;
    if (n->right_ != nullptr) n->right_->parent_ = n;
    top->left_ = n;
    n->parent_ = top;
    update(n);
    update(top);
    return top;
  }
  TreeHook* rotate_right(TreeHook* n) {
    TreeHook* top = n->left_;
    replace(n, top);
    n->left_ = top->right_;
    if (n->left_ != nullptr) n->left_->parent_ = n;
    top->right_ = n;
    n->parent_ = top;
    update(n);
    update(top);
    return top;
  }
  // Restores I4 on the way up; stops where a subtree has kept its height.
  void rebalance_from(TreeHook* n) {
    while (n != nullptr) {
      const u32 old_height = n->height_;
      const u32 l = height(n->left_);
      const u32 r = height(n->right_);
      if (l > r + 1) {
        if (height(n->left_->left_) < height(n->left_->right_)) rotate_left(n->left_);
        n = rotate_right(n);
      } else if (r > l + 1) {
        if (height(n->right_->right_) < height(n->right_->left_)) rotate_right(n->right_);
        n = rotate_left(n);
      } else {
        update(n);
      }
      if (n->height_ == old_height) return;
      n = n->parent_;
    }
  }

  TreeHook* root_ = nullptr;
  TreeHook* first_ = nullptr;
};

template <class T, TreeHook T::* Hook, class KeyOf>
class IntrusiveTree {
 public:
  IntrusiveTree() = default;
  ~IntrusiveTree() {
    if (!empty()) __builtin_trap();
  }

  bool empty() const { return core_.root() == nullptr; }
  T* first() const { return owner(core_.first()); }
  T* last() const { return owner(TreeCore::right_most(core_.root())); }
  // The neighbour of `item`, or null. `item` must be in this tree.
  T* next(const T& item) const { return owner(TreeCore::next(hook_of(item))); }
  T* prev(const T& item) const { return owner(TreeCore::prev(hook_of(item))); }

  void insert(T& item) {
    TreeHook* parent = nullptr;
    bool on_left = false;
    const auto key = KeyOf{}(item);
    for (TreeHook* n = core_.root(); n != nullptr;) {
      parent = n;
      on_left = key < KeyOf{}(*owner(n));
      n = on_left ? n->left_ : n->right_;
    }
    core_.attach(&(item.*Hook), parent, on_left);
  }
  void erase(T& item) { core_.detach(&(item.*Hook)); }
  T* pop_first() {
    T* item = first();
    if (item != nullptr) erase(*item);
    return item;
  }

  // The first element whose key is `key`, or null.
  template <class K>
  T* find(const K& key) const {
    T* item = lower_bound(key);
    return item == nullptr || key < KeyOf{}(*item) ? nullptr : item;
  }
  // The first element whose key is >= `key`, or null.
  template <class K>
  T* lower_bound(const K& key) const {
    TreeHook* best = nullptr;
    for (TreeHook* n = core_.root(); n != nullptr;) {
      if (KeyOf{}(*owner(n)) < key) {
        n = n->right_;
      } else {
        best = n;
        n = n->left_;
      }
    }
    return owner(best);
  }
  // The first element whose key is > `key`, or null.
  template <class K>
  T* upper_bound(const K& key) const {
    TreeHook* best = nullptr;
    for (TreeHook* n = core_.root(); n != nullptr;) {
      if (key < KeyOf{}(*owner(n))) {
        best = n;
        n = n->left_;
      } else {
        n = n->right_;
      }
    }
    return owner(best);
  }
  // The last element whose key is <= `key`, or null: the region that may contain an address.
  template <class K>
  T* last_not_above(const K& key) const {
    TreeHook* best = nullptr;
    for (TreeHook* n = core_.root(); n != nullptr;) {
      if (key < KeyOf{}(*owner(n))) {
        n = n->left_;
      } else {
        best = n;
        n = n->right_;
      }
    }
    return owner(best);
  }

  // For tests: whether I3, I4, I5 and all links hold. O(n) and recursive to the height of the tree.
  bool check() const {
    const TreeHook* root = core_.root();
    if (root != nullptr && root->parent_ != nullptr) return false;
    if (core_.first() != TreeCore::left_most(core_.root())) return false;
    u32 height = 0;
    if (!check_subtree(root, &height)) return false;
    for (T* item = first(); item != nullptr; item = next(*item)) {
      T* after = next(*item);
      if (after != nullptr && (KeyOf{}(*after) < KeyOf{}(*item) || prev(*after) != item)) return false;
    }
    return true;
  }

 private:
  static bool check_subtree(const TreeHook* n, u32* height) {
    if (n == nullptr) {
      *height = 0;
      return true;
    }
    u32 l = 0;
    u32 r = 0;
    if (n->left_ != nullptr && n->left_->parent_ != n) return false;
    if (n->right_ != nullptr && n->right_->parent_ != n) return false;
    if (!check_subtree(n->left_, &l) || !check_subtree(n->right_, &r)) return false;
    *height = 1 + (l > r ? l : r);
    return n->height_ == *height && l <= r + 1 && r <= l + 1;
  }

  static TreeHook* hook_of(const T& item) { return const_cast<TreeHook*>(&(item.*Hook)); }
  // SAFETY: every hook reachable from the root was passed to insert() as `item.*Hook`, so it lies at that member's
  // offset inside a live T.
  static T* owner(TreeHook* hook) {
    return hook == nullptr ? nullptr : reinterpret_cast<T*>(reinterpret_cast<char*>(hook) - offset());
  }
  static usize offset() {
    return reinterpret_cast<usize>(&(reinterpret_cast<T*>(kProbeAddress)->*Hook)) - kProbeAddress;
  }
  static constexpr usize kProbeAddress = 0x10000;

  TreeCore core_;
};

}  // namespace keel
