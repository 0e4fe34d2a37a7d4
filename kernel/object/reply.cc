#include "kernel/object/reply.h"

#include <utility>

#include "kernel/core/cpu.h"
#include "kernel/core/process.h"
#include "kernel/ipc/port.h"
#include "kernel/mm/heap.h"

namespace keel {

Result<RefPtr<Reply>> Reply::create(Cpu& cpu, ResourceGroup& group) {
  return RefPtr<Reply>::adopt(TRY(make<Reply>(cpu, group, group)));
}

void Reply::destroy(Cpu& cpu) { destroy_object(cpu, group(), this); }

Result<void> Reply::take(Cpu& cpu, Thread& server) {
  if (caller_ != nullptr) return Status::busy;
  Thread* client = server.caller;
  if (client == nullptr) return Status::bad_state;
  client->leave_callee(cpu);  // donation ends: the client may wait for long
  caller_ = client;
  client->reply_object = this;
  set_stale(cpu, false);
  return {};
}

void Reply::set_stale(Cpu& cpu, bool stale) {
  if (stale != std::exchange(stale_, stale) && observer_ != nullptr) observer_->set_pending(cpu, stale);
}

Result<void> Reply::send(Cpu& cpu, Thread& sender) {
  if (stale_) {
    set_stale(cpu, false);
    return Status::cancelled;
  }
  if (caller_ == nullptr) return Status::bad_state;
  Thread& client = *caller_;
  client.reply_object = nullptr;  // it is not the caller that stops waiting
  Result<void> answered = answer(cpu, sender, client);
  if (answered.has_value()) {
    caller_ = nullptr;
  } else {
    client.reply_object = this;
  }
  return answered;
}

void Reply::on_zero_handles(Cpu& cpu) {
  check_observer(cpu);
  Thread* client = caller_;
  if (client == nullptr) return;
  if (client->phase.fault) {
    client->leave_callee(cpu);
    client->process->kill(cpu, ~u64{0});
    return;
  }
  client->abort_wait(cpu, Status::peer_died);
}

}  // namespace keel
