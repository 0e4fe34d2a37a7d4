// The form of messages between services; used by the code that tools/codegen/idl.py generates.
//
// A request: word 0 = method (bits 0-7), interface (8-15), version (16-31), request number (32-63). Then, in the order
// of the declaration, one word for each scalar, each field of a struct and the length of each string and byte array:
// the *fixed* words. Then the contents of strings and byte arrays, each from a word of its own on, zero padded, the
// first at word max(8, number of fixed words). Capabilities apart, in order. A reply: word 0 = status; after any but ok
// nothing follows. Then as above.
//
// Nothing received is trusted: Reader checks word count, lengths, ranges and the number and kinds of capabilities, and
// owns the capabilities until they are taken.
#pragma once

#include <cstring>
#include <span>
#include <string_view>

#include "abi/objects.h"
#include "user/runtime/capabilities.h"
#include "user/runtime/syscall.h"
#include "user/runtime/thread_block.h"

namespace keel::wire {

inline constexpr u64 kMethodMask = 0xff;
inline constexpr u32 kInterfaceShift = 8;
inline constexpr u32 kVersionShift = 16;
inline constexpr u32 kRequestShift = 32;
inline constexpr u64 kHello = 0;  // method 0 of every interface: the version handshake

constexpr u64 header(u32 interface, u32 version, u32 method) {
  return u64{version} << kVersionShift | u64{interface} << kInterfaceShift | method;
}
constexpr u32 words_for(u64 bytes) { return static_cast<u32>((bytes + 7) / 8); }
constexpr u32 data_start(u32 fixed) { return fixed < kRegisterWords ? kRegisterWords : fixed; }

// Whether a message of this many fixed words and at most this many words of contents fits.
constexpr bool fits(u32 fixed, u32 data_words) { return data_start(fixed) + data_words <= kMaxMessageWords; }

// Fills a message, word by word. The generated code has checked at compile time that everything fits.
class Writer {
 public:
  Writer(Message& message, u64 first, u32 fixed) : message_(message), data_(data_start(fixed)) {
    message_ = Message{.deadline = message.deadline};
    message_.word_count = fixed;
    word(first);
  }

  void word(u64 value) {
    if (next_ < kRegisterWords) {
      message_.words[next_++] = value;
    } else {
      message_page().words[next_++] = value;
    }
  }
  void bytes(std::span<const std::byte> content) {
    word(content.size());
    if (content.empty()) return;
    const u32 words = words_for(content.size());
    u64* to = &message_page().words[data_];
    to[words - 1] = 0;
    std::memcpy(to, content.data(), content.size());
    data_ += words;
    message_.word_count = data_;
  }
  void text(std::string_view content) { bytes(std::as_bytes(std::span(content.data(), content.size()))); }
  void copy(CapIndex capability) { message_page().capabilities[message_.cap_count++] = capability.value; }
  void give(GivenCap& capability) {
    if (capability.moved()) message_.moves |= 1u << message_.cap_count;
    copy(capability.get());
    capability.sent();
  }

 private:
  Message& message_;
  u32 next_ = 0;
  u32 data_;
};

// A reply that is a status and nothing else.
inline void answer(Message& reply, Status status) { Writer out(reply, static_cast<u64>(status), 1); }

// Takes a message apart. Wrong values make status() other than ok; what was read is then meaningless but harmless.
class Reader {
 public:
  Reader(const Message& message, u32 fixed, u32 capabilities)
      : message_(message), data_(data_start(fixed)), end_(fixed) {
    // SAFETY: the kernel tells at most kMaxMessageWords and kMaxMessageCaps; checked all the same, once, here.
    for (u32 i = 0; i < message.cap_count && i < kMaxMessageCaps; ++i) {
      caps_[i] = Cap(CapIndex(message_page().capabilities[i]));
    }
    if (message.word_count < fixed || message.word_count > kMaxMessageWords || message.cap_count != capabilities)
      fail();
    word();  // the header or status, which the caller has looked at
  }

  u64 word() {
    const u32 at = next_++;
    if (at >= message_.word_count || at >= kMaxMessageWords) {
      fail();
      return 0;
    }
    return at < kRegisterWords ? message_.words[at] : message_page().words[at];
  }
  template <class T>
  T number() {
    const u64 value = word();
    if (value > static_cast<u64>(static_cast<T>(~T{0}))) fail();
    return static_cast<T>(value);
  }
  bool boolean() {
    const u64 value = word();
    if (value > 1) fail();
    return value == 1;
  }
  Status status_value() {
    const u64 value = word();
    if (value >= kStatusCount) fail();
    return static_cast<Status>(value);
  }
  // Copies the contents of the next byte array out of the message page; nobody else can change it afterwards.
  template <class Out>
  void bytes(Out& out) {
    const u64 size = word();
    if (size > Out::capacity() || words_for(size) > message_.word_count - data_ || data_ > message_.word_count) {
      if (size != 0) fail();
      return;
    }
    if (size == 0) return;
    append(out, reinterpret_cast<const std::byte*>(&message_page().words[data_]), size);
    data_ += words_for(size);
    end_ = data_;
  }
  Cap cap(ObjectKind kind) {
    if (next_cap_ >= kMaxMessageCaps) {
      fail();
      return Cap();
    }
    Cap taken = std::move(caps_[next_cap_++]);
    if (status_ == Status::ok && kind_of(taken.get()) != kind) status_ = Status::wrong_kind;
    return taken;
  }
  // Once everything was read: ok, or what to answer.
  Status finish() {
    if (end_ != message_.word_count) fail();
    return status_;
  }

 private:
  void fail() {
    if (status_ == Status::ok) status_ = Status::invalid_argument;
  }
  template <class Out>
  static void append(Out& out, const std::byte* from, u64 size) {
    if constexpr (requires { out.append(std::string_view()); }) {
      out.append(std::string_view(reinterpret_cast<const char*>(from), size));
    } else {
      out.append(std::span<const std::byte>(from, size));
    }
  }

  const Message& message_;
  u32 next_ = 0;
  u32 next_cap_ = 0;
  u32 data_;
  u32 end_;  // words that a well-formed message has
  Status status_ = Status::ok;
  Cap caps_[kMaxMessageCaps];
};

enum class Repeat : u8 { once, idempotent };

// How often an idempotent request is repeated when servers die of it.
inline constexpr u32 kMaxAttempts = 8;

// A number for a request of a `once` method, by which a server can tell a repetition.
u32 next_request_number();

// Whether a call that failed is to be made again.
bool again(Status status, Repeat repeat, u32 attempt, Deadline deadline);

// Calls until there is a reply. `encode` writes the request anew for each attempt. Ok means that the reply's status is
// ok.
template <class Encode>
Status transact(CapIndex port, Message& message, Repeat repeat, Deadline deadline, Encode&& encode) {
  for (u32 attempt = 1;; ++attempt) {
    message.deadline = deadline;
    encode();
    const Status status = ipc::call(port, message);
    if (status == Status::ok) break;
    if (!again(status, repeat, attempt, deadline)) return status;
  }
  const u64 answer = message.words[0];
  if (message.word_count == 0 || answer >= kStatusCount) {
    Reader discard(message, 0, message.cap_count);
    return Status::corrupt;
  }
  if (answer != 0 && message.cap_count != 0) Reader discard(message, 0, message.cap_count);
  return static_cast<Status>(answer);
}

// Fills and queues a message of up to eight words; waits a little for room.
Status post(CapIndex port, const Message& message);

// Asks the server which version it offers. VersionMismatch if it is another.
Result<void> hello(CapIndex port, u64 header, Deadline deadline);

}  // namespace keel::wire
