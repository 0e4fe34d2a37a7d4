#include "user/runtime/channel.h"

#include "user/runtime/stubs.h"

namespace keel {
namespace {

enum Key : u64 { kMessages, kOtherEnd };

}  // namespace

Result<std::pair<Channel, Channel>> Channel::create(CapIndex group) {
  std::pair<Channel, Channel> ends{TRY(make_end(group)), TRY(make_end(group))};
  TRY(connect(ends.first, ends.second));
  TRY(connect(ends.second, ends.first));
  return ends;
}

Result<Channel> Channel::make_end(CapIndex group) {
  Channel end;
  end.caps_[in] = TRY(own(sys::port_create(group, kQueue)));
  end.caps_[set] = TRY(own(sys::wait_set_create(group)));
  end.caps_[token] = TRY(own(sys::notification_create(group)));
  TRY(sys::wait_set_add(end.caps_[set].get(), end.caps_[in].get().value, kMessages));
  return end;
}

Result<void> Channel::connect(Channel& end, const Channel& other) {
  end.caps_[out] = TRY(derive(other.caps_[in].get(), rights::transfer | rights::port::send));
  return sys::wait_set_add(end.caps_[set].get(), other.caps_[token].get().value, kOtherEnd);
}

std::array<CapIndex, Channel::kCapabilities> Channel::release() {
  std::array<CapIndex, kCapabilities> given;
  for (usize i = 0; i < kCapabilities; ++i) given[i] = caps_[i].release();
  return given;
}

Result<void> Channel::send_message(const Message& message) const {
  const Status status = ipc::send(caps_[out].get(), message);
  return status == Status::ok ? Result<void>() : status;
}

Result<Message> Channel::receive_message(Deadline deadline) {
  for (;;) {
    Message message{.deadline = kPoll};
    const Status status = ipc::receive(caps_[in].get(), message);
    if (status == Status::ok) return message;
    if (status != Status::timed_out) return status;
    if (alone_) return Status::peer_died;
    const sys::WaitSetWaitResult ready = TRY(sys::wait_set_wait(caps_[set].get(), deadline));
    alone_ = ready.key == kOtherEnd;  // what it sent is received first
  }
}

}  // namespace keel
