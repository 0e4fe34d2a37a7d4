// The server's side of an interface, without a loop: what the generated BlockServer and its like build upon.
//
// A Request is one message being answered. dispatch() of the generated class decodes it, calls the handler and fills
// the reply. A method declared `waits` runs as a coroutine: if it does not finish at once, the caller moves into a
// Reply object (Deferred) and is answered when the coroutine ends.
#pragma once

#include "user/runtime/task.h"
#include "user/runtime/wire.h"

namespace keel {

// Who calls: the badge of the capability that was called. The same badge means the same session, across restarts.
struct Session {
  u64 badge = 0;
  u32 request = 0;  // number of a request of a `once` method; a repetition has the same number
};

class Deferred;

// Gives Reply objects and sends through them; the service loop implements it.
class ReplyPool {
 public:
  virtual Result<CapIndex> take_reply() = 0;  // an empty Reply object that now holds the current caller
  virtual void send_reply(CapIndex reply, const Message& message) = 0;  // takes the Reply object back

 protected:
  ~ReplyPool() = default;
};

class Request {
 public:
  Request(const Message& message, ReplyPool* pool) : message_(message), pool_(pool) {}

  const Message& message() const { return message_; }
  u32 interface() const { return static_cast<u32>(message_.words[0] >> wire::kInterfaceShift & 0xff); }
  u32 version() const { return static_cast<u32>(message_.words[0] >> wire::kVersionShift & 0xffff); }
  u32 method() const { return static_cast<u32>(message_.words[0] & wire::kMethodMask); }
  Session session() const { return {message_.badge, static_cast<u32>(message_.words[0] >> wire::kRequestShift)}; }
  bool wants_reply() const { return message_.kind == MessageKind::call; }

  void answer(Status status) { wire::answer(reply_, status); }
  // For a request that nothing can be made of: gives up its capabilities.
  void refuse(Status status) {
    wire::Reader discard(message_, 0, message_.cap_count);
    answer(status);
  }
  // Writes the answer to a handshake.
  void answer_hello(u32 version) {
    wire::Reader discard(message_, 0, message_.cap_count);
    wire::Writer out(reply_, static_cast<u64>(Status::ok), 2);
    out.word(version);
  }
  // The reply; its words from 8 on are in the message page.
  Message& reply() { return reply_; }
  bool deferred() const { return deferred_; }

 private:
  friend class Deferred;
  Message message_;
  Message reply_;
  ReplyPool* pool_;
  Deferred* open_ = nullptr;  // a coroutine of this request that has not ended
  bool deferred_ = false;
};

// The way back to the caller of a `waits` method. Lives in the coroutine that answers.
class Deferred {
 public:
  explicit Deferred(Request& request) : request_(&request), pool_(request.pool_) { request.open_ = this; }
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;

  // Fills the reply and sends it, or leaves sending to the loop while the request is still being dispatched.
  template <class Encode>
  void finish(Encode&& encode) {
    if (request_ != nullptr) {
      request_->open_ = nullptr;
      encode(request_->reply_);
      return;
    }
    if (reply_ == kNoCapability) return;  // the caller was told that there is no memory
    Message message;
    encode(message);
    pool_->send_reply(reply_, message);
  }

  // At the end of dispatch: if the coroutine still runs, the caller moves into a Reply object.
  static void settle(Request& request) {
    Deferred* open = request.open_;
    if (open == nullptr) return;
    open->request_ = nullptr;
    request.open_ = nullptr;
    const Result<CapIndex> reply = request.pool_->take_reply();
    if (!reply.has_value()) return request.answer(reply.error());
    open->reply_ = *reply;
    request.deferred_ = true;
  }

 private:
  Request* request_;
  ReplyPool* pool_;
  CapIndex reply_ = kNoCapability;
};

class Server {
 public:
  explicit Server(u32 interface) : interface_(interface) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  u32 interface() const { return interface_; }
  // Answers the request, or defers the answer.
  virtual void dispatch(Request& request) = 0;

 protected:
  ~Server() = default;

 private:
  friend class ServiceLoop;
  u32 interface_;
  Server* next_ = nullptr;
};

}  // namespace keel
