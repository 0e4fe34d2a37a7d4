// FakeKernel: enough of the kernel's plain calls to test the runtime on the build machine. Keeps a table of
// capabilities, lets the n-th call fail, and passes calls straight to a server.
#pragma once

#include <cstdlib>
#include <map>

#include "abi/objects.h"
#include "user/runtime/capabilities.h"
#include "user/runtime/host/machine.h"
#include "user/runtime/server.h"

namespace keel::host {

class FakeKernel {
 public:
  FakeKernel() {
    machine() = {};
    machine().system_call = [this](Call call, u64 cap, SyscallWords& w) { return system_call(call, cap, w); };
  }
  ~FakeKernel() {
    for (auto& [address, bytes] : mapped_) std::free(reinterpret_cast<void*>(address));
    machine() = {};
  }
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;

  CapIndex make(ObjectKind kind, u64 pages = 0) {
    next_ += 0x20;
    caps_[next_] = {kind, pages};
    return CapIndex(next_);
  }
  bool live(CapIndex index) const { return caps_.contains(index.value); }
  usize count() const { return caps_.size(); }
  usize mappings() const { return mapped_.size(); }
  u32 kills = 0;
  u32 starts = 0;
  u32 calls = 0;
  u32 fail_at = 0;  // this call, counted from 1, answers no_memory

  // Calls at any port go to the server, as if from a client with this badge. Capabilities keep their numbers; moved or
  // copied, the receiver gets one of its own.
  void connect(Server& server, u64 badge) {
    machine().call = [this, &server, badge](CapIndex, Message& m) {
      transfer(m);
      m.badge = badge;
      m.kind = MessageKind::call;
      Request request(m, nullptr);
      server.dispatch(request);
      m = request.reply();
      transfer(m);
      return Status::ok;
    };
    machine().send = [&server, badge](CapIndex, const Message& m) {
      Message copy = m;
      copy.badge = badge;
      copy.kind = MessageKind::send;
      Request request(copy, nullptr);
      server.dispatch(request);
      return Status::ok;
    };
  }

  Status system_call(Call call, u64 cap, SyscallWords& w) {
    if (++calls == fail_at && call != Call::cap_delete && call != Call::process_kill && call != Call::space_unmap) {
      return Status::no_memory;
    }
    switch (call) {
      case Call::cap_info: {
        if (!caps_.contains(cap)) return Status::bad_capability;
        const ObjectKind kind = caps_[cap].kind;
        w.word[0] = static_cast<u64>(kind) | u64{all_rights(kind)} << 16;
        return Status::ok;
      }
      case Call::cap_delete:
        return caps_.erase(cap) == 1 ? Status::ok : Status::bad_capability;
      case Call::cap_grant:
        w.word[0] = caps_.contains(w.word[0]) ? 0x1000 + calls : 0;
        return w.word[0] != 0 ? Status::ok : Status::bad_capability;
      case Call::process_create:
        w.word[0] = make(ObjectKind::process).value;
        w.word[1] = make(ObjectKind::address_space).value;
        w.word[2] = 7;
        return Status::ok;
      case Call::process_kill:
        ++kills;
        return Status::ok;
      case Call::thread_create:
        w.word[0] = make(ObjectKind::thread).value;
        w.word[1] = 0x7000;
        w.word[2] = 8;
        return Status::ok;
      case Call::thread_start:
        ++starts;
        return Status::ok;
      case Call::memory_create:
        w.word[0] = make(ObjectKind::memory, w.word[0]).value;
        return Status::ok;
      case Call::memory_info:
        w.word[0] = caps_[cap].pages;
        return Status::ok;
      case Call::space_map: {
        if (cap != self().space.value) {
          w.word[0] = w.word[4];
          return Status::ok;
        }
        const u64 bytes = w.word[2] * kPageSize;
        void* address = std::aligned_alloc(kPageSize, bytes);
        __builtin_memset(address, 0, bytes);
        w.word[0] = reinterpret_cast<u64>(address);
        mapped_[w.word[0]] = bytes;
        return Status::ok;
      }
      case Call::space_unmap:
        if (cap == self().space.value && mapped_.erase(w.word[0]) == 1) std::free(reinterpret_cast<void*>(w.word[0]));
        return Status::ok;
      case Call::random_get:
      case Call::reply_take:
      case Call::port_bind:
        return Status::ok;
      case Call::reply_create:
        w.word[0] = make(ObjectKind::reply).value;
        return Status::ok;
      case Call::notification_create:
        w.word[0] = make(ObjectKind::notification).value;
        return Status::ok;
      default:
        return Status::not_supported;
    }
  }

 private:
  struct Entry {
    ObjectKind kind = ObjectKind::none;
    u64 pages = 0;
  };

  void transfer(Message& m) {
    for (u32 i = 0; i < m.cap_count && i < kMaxMessageCaps; ++i) {
      u64& index = message_page().capabilities[i];
      const ObjectKind kind = caps_.contains(index) ? caps_[index].kind : ObjectKind::none;
      if ((m.moves & 1u << i) != 0) caps_.erase(index);
      index = make(kind).value;
    }
    m.moves = 0;
  }

  std::map<u64, Entry> caps_;
  std::map<u64, u64> mapped_;
  u64 next_ = u64{1} << 32;
};

}  // namespace keel::host
