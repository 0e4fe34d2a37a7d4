// Carries one message from a thread's registers and message page to another's.
#pragma once

#include "kernel/core/thread.h"

namespace keel {

// Checks what the sender's descriptor claims. Errors: too_big, invalid_argument (reserved bits).
Result<void> check_descriptor(Descriptor descriptor);

// Copies words and transfers capabilities; on success the receiver's registers hold the message, with status ok, the
// given kind and badge, and zeros in what the message does not use. Errors: those of transfer_capabilities()
// and MessageChecks::carry(); nothing but words in the receiver's page was changed then.
Result<void> transfer_message(Cpu& cpu, Thread& sender, Thread& receiver, u64 badge, MessageKind kind);
// The same for a message of up to eight words that is not a thread's.
void deliver_words(Thread& receiver, const u64* words, u32 count, u64 badge, MessageKind kind);

// Moves or copies the capabilities that the sender's message page names into the receiver's process, and writes their
// new indices to the receiver's page. All or nothing.
// Errors: bad_capability, missing_right (transfer; derive for a copy), no_slot, no_memory, quota_exceeded, revoked,
// too_deep, bad_state (the receiver's process is going).
Result<void> transfer_capabilities(Cpu& cpu, Thread& sender, Thread& receiver, Descriptor descriptor);

}  // namespace keel
