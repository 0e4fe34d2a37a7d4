// Result<T>: a value or a Status. Every failure in Keel is one of these (law 5).
//
//   auto thing = TRY(make_thing());   returns the Status to our caller on failure
//   MUST(expr)                        states, with a comment, why it cannot fail; traps if it does
#pragma once

#include <expected>
#include <type_traits>
#include <utility>

#include "abi/status.h"

namespace keel {

template <class T>
class [[nodiscard]] Result : public std::expected<T, Status> {
  using Base = std::expected<T, Status>;
  static_assert(!std::is_same_v<std::remove_cv_t<T>, Status>, "a Status as a value would become an error");

 public:
  using Base::Base;
  constexpr Result(Status status) : Base(std::unexpected(status)) {}  // NOLINT(google-explicit-constructor)
  constexpr Status status() const { return this->has_value() ? Status::ok : this->error(); }
};

template <>
class [[nodiscard]] Result<void> : public std::expected<void, Status> {
  using Base = std::expected<void, Status>;

 public:
  using Base::Base;
  constexpr Result(Status status)  // NOLINT(google-explicit-constructor)
      : Base(status == Status::ok ? Base() : Base(std::unexpected(status))) {}
  constexpr Status status() const { return this->has_value() ? Status::ok : this->error(); }
};

}  // namespace keel

// GNU statement expressions; the build turns off the pedantic warning for them.
#define TRY(expr)                                                                        \
  ({                                                                                     \
    auto keel_try_result = (expr);                                                       \
    if (!keel_try_result.has_value()) [[unlikely]]                                       \
      return keel_try_result.error();                                                    \
    static_assert(!std::is_reference_v<typename decltype(keel_try_result)::value_type>); \
    *std::move(keel_try_result);                                                         \
  })

#define MUST(expr)                                       \
  ({                                                     \
    auto keel_must_result = (expr);                      \
    if (!keel_must_result.has_value()) __builtin_trap(); \
    *std::move(keel_must_result);                        \
  })
