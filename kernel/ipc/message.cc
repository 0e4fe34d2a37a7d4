#include "kernel/ipc/message.h"

#include <string.h>

#include "kernel/cap/audit_inline.h"
#include "kernel/cap/space_inline.h"
#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/core/process.h"

namespace keel {

Result<void> check_descriptor(Descriptor d) {
  constexpr u64 kKnown = Descriptor::kWordsMask << Descriptor::kWordsShift |
                         Descriptor::kCapsMask << Descriptor::kCapsShift |
                         Descriptor::kMoveMask << Descriptor::kMoveShift | Descriptor::kDeadline | 0xff;
  if ((d.raw & ~kKnown) != 0) return Status::invalid_argument;
  if (d.words() > kMaxMessageWords || d.capabilities() > kMaxMessageCaps) return Status::too_big;
  return {};
}

void deliver_words(Thread& receiver, const u64* words, u32 count, u64 badge, MessageKind kind) {
  for (u32 i = 0; i < kRegisterWords; ++i) receiver.state.word[i] = i < count ? words[i] : 0;
  receiver.state.rdi = badge;
  receiver.state.rax = u64(Status::ok) | Descriptor::make(count) | u64(kind) << Descriptor::kKindShift;
}

Result<void> transfer_message(Cpu& cpu, Thread& sender, Thread& receiver, u64 badge, MessageKind kind) {
  Descriptor d{sender.state.rax};
  u32 words = d.words();
  u32 capabilities = d.capabilities();
  if constexpr (kParanoidChecks) {
    TRY(cpu.machine.platform.messages.carry(cpu, sender, receiver, words));
  } else if (words > kRegisterWords) {
    memcpy(&receiver.message_page->words[kRegisterWords], &sender.message_page->words[kRegisterWords],
           (words - kRegisterWords) * sizeof(u64));
  }
  if (capabilities > 0) TRY(transfer_capabilities(cpu, sender, receiver, d));
  deliver_words(receiver, sender.state.word, words < kRegisterWords ? words : kRegisterWords, badge, kind);
  receiver.state.rax = u64(Status::ok) | Descriptor::make(words, capabilities) | u64(kind) << Descriptor::kKindShift;
  return {};
}

Result<void> transfer_capabilities(Cpu& cpu, Thread& sender, Thread& receiver, Descriptor d) {
  CapSpace& from = sender.process->caps;
  CapSpace& to = receiver.process->caps;
  if (!receiver.process->alive()) return Status::bad_state;
  struct Item {
    u64 source;
    CapSlot* slot;
    const KObject* object;
    Rights given;
    u64 added;
  };
  [[clang::uninitialized]] Item items[kMaxMessageCaps];
  const u32 count = d.capabilities();
  // Check everything that can be checked before anything changes.
  for (u32 i = 0; i < count; ++i) {
    Item& item = items[i];
    item.source = sender.message_page->capabilities[i];  // read once
    const bool move = (d.moves() >> i & 1) != 0;
    item.slot = TRY(from.find(CapIndex(item.source)));
    item.object = item.slot->object;
    item.given = item.slot->rights();
    const Rights needed = move ? rights::transfer : rights::transfer | rights::derive;
    if ((item.given & needed) != needed) return Status::missing_right;
    for (u32 j = 0; j < i; ++j) {
      if (move && items[j].source == item.source) return Status::invalid_argument;  // one capability cannot go twice
    }
  }
  const bool one_group = &from.group() == &to.group();
  Result<CapIndex> made = kNoCapability;
  u32 done = 0;
  for (; done < count; ++done) {
    Item& item = items[done];
    made = Status::bad_capability;
    if (item.slot->name.load(kAcquire) != item.source) [[unlikely]]
      break;  // it went before, as another of these
    if ((d.moves() >> done & 1) == 0) {
      made = to.insert_child(cpu, *item.slot, item.given, item.slot->scope);
    } else {
      made = one_group ? to.move(cpu, from, *item.slot, item.source) : to.move_from(cpu, from, *item.slot);
    }
    if (!made.has_value()) [[unlikely]]
      break;
    item.added = made->value;
  }
  if (done == count) {
    for (u32 i = 0; i < count; ++i) {
      receiver.message_page->capabilities[i] = items[i].added;
      audit_inline(cpu, AuditEvent::transfer, sender.process->id(), receiver.process->id(), *items[i].object,
                   items[i].given);
    }
    return {};
  }
  // Undo. Moving back needs no memory: the slots and charges that were just given up are there.
  while (done-- > 0) {
    if ((d.moves() >> done & 1) != 0) {
      Result<CapSlot*> slot = to.find(CapIndex(items[done].added));
      if (slot.has_value()) {
        Result<CapIndex> back = from.move_from(cpu, to, **slot);
        if (back.has_value()) sender.message_page->capabilities[done] = back->value;
      }
    } else {
      (void)to.remove(cpu, CapIndex(items[done].added));
    }
  }
  return made.status();
}

}  // namespace keel
