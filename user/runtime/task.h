// Task<T>: a coroutine that somebody waits for. It starts at once and runs until its first real wait.
//
//   Task<Result<u32>> handler() { ... co_return 7u; }      auto r = co_await handler();
//   start(handler_without_result());                        runs by itself
//
// A frame that cannot be allocated gives an empty Task: awaiting it yields Status::no_memory if T is a Result, and
// valid() tells before. Locks: none; all coroutines of a loop run on its thread.
#pragma once

#include <coroutine>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/result.h"

namespace keel {

namespace task_detail {

template <class T>
struct Outcome {
  std::optional<T> value;
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
};
template <>
struct Outcome<void> {
  void return_void() {}
};

}  // namespace task_detail

template <class T>
class [[nodiscard]] Task {
 public:
  struct promise_type : task_detail::Outcome<T> {
    std::coroutine_handle<> waiter;  // who continues at the end
    bool abandoned = false;          // nobody waits: the frame frees itself

    static Task get_return_object_on_allocation_failure() { return Task(); }
    Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_never initial_suspend() noexcept { return {}; }
    struct Final {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) noexcept {
        promise_type& promise = h.promise();
        if (promise.waiter) return promise.waiter;
        if (promise.abandoned) h.destroy();
        return std::noop_coroutine();
      }
      void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
    void unhandled_exception() noexcept { __builtin_trap(); }
  };

  Task() = default;
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&&) = delete;
  // A task that still runs goes on by itself.
  ~Task() {
    if (!handle_) return;
    if (handle_.done()) {
      handle_.destroy();
    } else {
      handle_.promise().abandoned = true;
    }
  }

  bool valid() const { return static_cast<bool>(handle_); }
  bool await_ready() const { return !handle_ || handle_.done(); }
  void await_suspend(std::coroutine_handle<> waiter) { handle_.promise().waiter = waiter; }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) {
      if (handle_) return std::move(*handle_.promise().value);
      static_assert(std::is_constructible_v<T, Status>, "a task that is awaited returns a Result or nothing");
      return T(Status::no_memory);
    }
  }

 private:
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

// Lets a coroutine run by itself; its frame goes when it ends. False: there was no memory for it.
inline bool start(Task<void> task) { return task.valid(); }

}  // namespace keel

// TRY inside a coroutine that returns a Result.
#define CO_TRY(expr)                               \
  ({                                               \
    auto keel_try_result = (expr);                 \
    if (!keel_try_result.has_value()) [[unlikely]] \
      co_return keel_try_result.error();           \
    *std::move(keel_try_result);                   \
  })
