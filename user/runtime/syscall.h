// The system-call instruction. Plain calls go through the generated stubs (user/runtime/stubs.h), which use
// system_call(); messages go through ipc::. The machine's half is in x86_64/machine.cc; tests link host/machine.cc
// instead.
//
// Vector and x87 state does not survive a call that may wait. Every failure is recorded in last_error().
#pragma once

#include "abi/calls.h"
#include "abi/types.h"
#include "base/result.h"

namespace keel {

struct SyscallWords {
  u64 word[kRegisterWords] = {};
};

// A plain call: words in, results out (unchanged words where the call has none).
Status system_call(Call call, u64 capability, SyscallWords& words);

// A message's register half. Words from 8 on and capabilities are in message_page() of the calling thread: written
// there before a call, found there after it, gone with the next call that carries a message.
struct Message {
  u64 words[kRegisterWords] = {};  // those at or beyond word_count must be zero when sent, mean nothing when received
  u32 word_count = 0;
  u32 cap_count = 0;
  u32 moves = 0;  // out: bit i: capability i is moved, not copied
  MessageKind kind = MessageKind::call;
  u64 badge = 0;                 // in: who sent
  Deadline deadline = kForever;  // out: of the wait
};

namespace ipc {

// Sends the message and waits; on success it holds the reply.
[[nodiscard]] Status call(CapIndex port, Message& message);
// Waits for a message, signal or fault.
[[nodiscard]] Status receive(CapIndex port, Message& message);
// Replies to the caller received last with the message, then as receive().
[[nodiscard]] Status reply_receive(CapIndex port, Message& message);
// Queues up to eight words; never waits. WouldBlock when the queue is full.
[[nodiscard]] Status send(CapIndex port, const Message& message);
[[nodiscard]] Status reply_send(CapIndex reply, const Message& message);
// Hands the caller received last on to another port: its call goes on there with the message.
[[nodiscard]] Status forward(CapIndex port, const Message& message);

}  // namespace ipc
}  // namespace keel
