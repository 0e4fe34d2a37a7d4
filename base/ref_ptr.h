// RefPtr<T>: one of several owners of an object that counts its references itself (`add_ref`, `drop_ref`).
// A T& or T* only borrows. drop_ref() frees the object, or hands it to a deferred list, when the count reaches zero.
#pragma once

#include <cstddef>
#include <utility>

namespace keel {

template <class T>
class RefPtr {
 public:
  constexpr RefPtr() = default;
  constexpr RefPtr(std::nullptr_t) {}  // NOLINT(google-explicit-constructor)
  // Takes a new reference.
  explicit RefPtr(T& object) : object_(&object) { object_->add_ref(); }
  // Takes over a reference that the caller already owns.
  static RefPtr adopt(T* object) {
    RefPtr p;
    p.object_ = object;
    return p;
  }
  RefPtr(const RefPtr& other) : object_(other.object_) {
    if (object_ != nullptr) object_->add_ref();
  }
  RefPtr(RefPtr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  RefPtr& operator=(RefPtr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~RefPtr() {
    if (object_ != nullptr) object_->drop_ref();
  }

  T* get() const { return object_; }
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }
  // Gives the reference to the caller, who must drop it.
  [[nodiscard]] T* release() { return std::exchange(object_, nullptr); }
  void reset() { *this = RefPtr(); }

 private:
  T* object_ = nullptr;
};

}  // namespace keel
