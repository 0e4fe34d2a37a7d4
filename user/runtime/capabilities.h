// Cap: the one owner of a capability of this process; deletes it when it goes. A CapIndex only names one.
#pragma once

#include <string_view>
#include <utility>

#include "abi/objects.h"
#include "abi/types.h"
#include "base/result.h"

namespace keel {

class Cap {
 public:
  constexpr Cap() = default;
  constexpr explicit Cap(CapIndex index) : index_(index) {}
  Cap(Cap&& other) noexcept : index_(other.release()) {}
  Cap& operator=(Cap&& other) noexcept {
    if (this != &other) {
      reset();
      index_ = other.release();
    }
    return *this;
  }
  ~Cap() { reset(); }

  constexpr CapIndex get() const { return index_; }
  constexpr explicit operator bool() const { return index_ != kNoCapability; }
  [[nodiscard]] constexpr CapIndex release() { return std::exchange(index_, kNoCapability); }
  void reset();

 private:
  CapIndex index_ = kNoCapability;
};

// Takes over what a stub returned: Cap memory = TRY(own(sys::memory_create(...))).
inline Result<Cap> own(Result<CapIndex> index) {
  if (!index.has_value()) return index.error();
  return Cap(*index);
}

// A capability on its way to another process inside a reply: an owned one is moved, a named one is copied.
class GivenCap {
 public:
  GivenCap() = default;
  GivenCap(Cap&& cap) : index_(cap.get()), owned_(std::move(cap)) {}  // NOLINT(google-explicit-constructor)
  GivenCap(CapIndex index) : index_(index) {}                         // NOLINT(google-explicit-constructor)

  CapIndex get() const { return index_; }
  bool moved() const { return static_cast<bool>(owned_); }
  // The message owns it from here on.
  void sent() { static_cast<void>(owned_.release()); }

 private:
  CapIndex index_ = kNoCapability;
  Cap owned_;
};

// With fewer rights or a narrower scope (0 keeps it). The capability needs the right derive.
Result<Cap> derive(CapIndex capability, Rights rights, u64 scope = 0);
// Gives up a capability and forgets that it might have gone already: last_error() stays.
void delete_quietly(CapIndex capability);
// The kind of one of our capabilities; none if there is no such capability.
ObjectKind kind_of(CapIndex capability);

// From the start block. kNoCapability / NotFound if the parent granted nothing under that name.
CapIndex find_capability(std::string_view name);
Result<CapIndex> require_capability(std::string_view name);

// What every process is given.
struct Self {
  CapIndex process;
  CapIndex space;
  CapIndex group;
  CapIndex thread;
};
const Self& self();

}  // namespace keel
