// Channel: one end of a pair that carries small values both ways, in order: two ports back to back. Each end can tell
// when the other is gone.
//
//   auto [mine, theirs] = TRY(Channel::create(self().group));
//   ... give theirs.release() to another process, which makes a Channel of what it gets ...
//   TRY(mine.send(Request{.number = 7}));
//   const Answer answer = TRY(mine.receive<Answer>(after(kSecond)));
//
// An end holds the right to receive on one port and to send to the other, a wait set with its port and the other end's
// *token* in it, and its own token, a notification that is only there to end: with its last capability, whoever held
// it is gone, and the other end's wait set says so.
//
// Lifetime     the values that were sent before an end went can still be received; then PeerDied.
// Costs        send: one system call. receive: one, or three when it has to wait. Room for kQueue values is reserved at
//              creation, from the group.
#pragma once

#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "user/runtime/capabilities.h"
#include "user/runtime/syscall.h"

namespace keel {

class Channel {
 public:
  static constexpr u32 kQueue = 32;
  static constexpr usize kCapabilities = 4;

  // Errors: no_memory, quota_exceeded, no_slot.
  static Result<std::pair<Channel, Channel>> create(CapIndex group);
  Channel() = default;
  // An end that came from elsewhere, in the order of release().
  explicit Channel(std::array<Cap, kCapabilities> capabilities) : caps_(std::move(capabilities)) {}

  // For a message that moves all of them: this end is where they go, then. Before the first receive.
  std::array<CapIndex, kCapabilities> release();

  // Errors: would_block (the other end has kQueue values to receive), peer_died.
  template <class T>
  Result<void> send(const T& value) const {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kRegisterWords * sizeof(u64));
    Message message{.word_count = kWords<T>};
    std::memcpy(message.words, &value, sizeof(T));
    return send_message(message);
  }
  // Errors: timed_out, peer_died, cancelled, corrupt (what came has another size).
  template <class T>
  Result<T> receive(Deadline deadline) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kRegisterWords * sizeof(u64));
    const Message message = TRY(receive_message(deadline));
    if (message.word_count != kWords<T>) return Status::corrupt;
    T value;
    std::memcpy(&value, message.words, sizeof(T));
    return value;
  }

 private:
  enum : usize { in, out, set, token };
  template <class T>
  static constexpr u32 kWords = static_cast<u32>((sizeof(T) + sizeof(u64) - 1) / sizeof(u64));
  static Result<Channel> make_end(CapIndex group);
  static Result<void> connect(Channel& end, const Channel& other);
  Result<void> send_message(const Message& message) const;
  Result<Message> receive_message(Deadline deadline);

  std::array<Cap, kCapabilities> caps_;
  bool alone_ = false;  // the other end is gone: that is told once
};

}  // namespace keel
