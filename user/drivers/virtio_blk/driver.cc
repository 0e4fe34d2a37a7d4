#include "user/drivers/virtio_blk/driver.h"

#include <algorithm>
#include <new>

#include "user/runtime/print.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread_block.h"

namespace keel::virtio {
namespace {

constexpr u64 kFeatureReadOnly = u64{1} << 5, kFeatureFlush = u64{1} << 9;
constexpr u64 kCapacity = 0;  // in the device's configuration
constexpr u32 kTypeRead = 0, kTypeWrite = 1, kTypeFlush = 4;
constexpr u8 kStatusOk = 0, kStatusUnsupported = 2, kStatusNone = 0xff;
constexpr u16 kQueueSize = 256;
constexpr u64 kHeaderBytes = 16;

// Data of the largest request lies on this many pages, and each may be a segment of its own.
constexpr usize kMaxSegments = kMaxBlockBytes / kPageSize + 1 + 2;
constexpr u64 kDrainPatience = 500 * kMillisecond;
constexpr u64 kRingPages = kBlockPoolFirstPage;

Status status_of(u8 status) {
  return status == kStatusOk ? Status::ok : status == kStatusUnsupported ? Status::not_supported : Status::io_error;
}

}  // namespace

void Driver::give_up(const char* why) {
  log_error("virtio-blk: {}: starting anew", why);
  exit_process(kExitFatal);
}

Result<void> Driver::begin(CapIndex device, const char** what) {
  *what = "device";
  device_ = TRY(VirtioDevice::open(device));
  *what = "features";
  const u64 features = TRY(device_.negotiate(kFeatureReadOnly | kFeatureFlush));
  read_only_ = (features & kFeatureReadOnly) != 0;
  can_flush_ = (features & kFeatureFlush) != 0;
  *what = "interrupt";
  const u32 bit = loop_.allocate_bit();
  loop_.on_signal(bit, [this] { on_interrupt(); });
  TRY(device_.bind_interrupt(loop_.notification(), ServiceLoop::mask(bit)));
  *what = "queue";
  queue_ = TRY(device_.set_up_queue(kQueueSize));
  if (queue_.size() < kMaxSegments) return Status::not_supported;
  headers_ = TRY(device_.allocate((queue_.size() * sizeof(Header) + kPageSize - 1) / kPageSize));
  for (u16 i = 0; i < queue_.size(); ++i) free_headers_.push_back(i);
  for (u32& b : bits_) {
    b = loop_.allocate_bit();
    loop_.on_signal(b, [this, mine = b] {
      for (const auto& client : clients_) {
        if (client->bit == mine) return pump(*client);
      }
    });
  }
  *what = "start";
  TRY(device_.run());
  // The configuration may change while it is read in halves.
  do {
    sectors_ = u64{device_.config().read<u32>(kCapacity + 4)} << 32 | device_.config().read<u32>(kCapacity);
  } while (sectors_ >> 32 != device_.config().read<u32>(kCapacity + 4));
  log_info("virtio-blk: {} MiB{}, {} descriptors", sectors_ / 2048, read_only_ ? ", read-only" : "", queue_.size());
  return {};
}

Result<BlockInfoReply> Driver::info(Session) {
  return BlockInfoReply{.sectors = sectors_, .sector_bytes = kBlockSectorBytes, .read_only = read_only_};
}

Result<BlockAttachReply> Driver::attach(Session session, Cap ring, Cap completion, u64 completion_bits) {
  TRY(drain(session.badge));
  drop(session.badge);
  if (clients_.size() == kMaxSessions) return Status::busy;
  const sys::MemoryInfoResult memory = TRY(sys::memory_info(ring.get()));
  if (memory.pages <= kBlockPoolFirstPage || memory.pages > kBlockPoolFirstPage + kMaxBlockPoolPages) {
    return Status::invalid_argument;
  }
  std::unique_ptr<Client> made(new (std::nothrow) Client);
  if (made == nullptr) return Status::no_memory;
  Client& c = *made;
  c.badge = session.badge;
  c.ring = TRY(Mapping::map(ring.get(), Access::read_write, 0, kRingPages));
  c.requests = TRY(RingConsumer<BlockRequest>::attach(c.ring.bytes().first(kPageSize), kBlockRingEntries));
  c.completions = TRY(RingProducer<BlockCompletion>::attach(c.ring.bytes().subspan(kPageSize), kBlockRingEntries));
  c.completion = std::move(completion);
  c.completion_bits = completion_bits;
  TRY(sys::notification_signal(c.completion.get(), 0));  // its right to signal, now rather than later
  const usize slot = static_cast<usize>(std::find(bit_used_.begin(), bit_used_.end(), false) - bit_used_.begin());
  c.bit = bits_[slot];
  Cap doorbell = TRY(derive(loop_.notification(), rights::transfer | rights::derive | rights::notification::signal,
                            ServiceLoop::mask(c.bit)));
  const u64 pages = memory.pages - kBlockPoolFirstPage;
  c.pool.resize(pages);
  // The last thing that can fail: what is pinned stays pinned.
  TRY(sys::dma_map(device_.domain(), ring.get(), kBlockPoolFirstPage, pages));
  std::copy_n(&message_page().words[kRegisterWords], pages, c.pool.begin());

  bit_used_[slot] = true;
  clients_.push_back(std::move(made));
  // As if the doorbell had rung: finds what was submitted already, and asks to be woken.
  static_cast<void>(sys::notification_signal(loop_.notification(), ServiceLoop::mask(c.bit)));
  return BlockAttachReply{.doorbell = std::move(doorbell), .doorbell_bits = ServiceLoop::mask(c.bit)};
}

// What is at the device may still write to the pool, which the client is about to use for something else. Waits for it.
Result<void> Driver::drain(u64 badge) {
  const auto found = std::find_if(clients_.begin(), clients_.end(), [&](const auto& c) { return c->badge == badge; });
  if (found == clients_.end()) return {};
  const Client* client = found->get();
  for (const Deadline deadline = after(kDrainPatience);;) {
    const bool gone = std::none_of(clients_.begin(), clients_.end(), [&](const auto& c) { return c.get() == client; });
    if (gone || client->in_flight == 0) return {};
    if (has_passed(deadline)) return Status::busy;
    if (!finish_chains()) sleep_until(after(kMillisecond));
  }
}

void Driver::drop(u64 badge) {
  const auto found = std::find_if(clients_.begin(), clients_.end(), [&](const auto& c) { return c->badge == badge; });
  if (found == clients_.end()) return;
  for (Pending& p : pending_) {
    if (p.client == found->get()) p.client = nullptr;
  }
  for (usize i = 0; i < kMaxSessions; ++i) {
    if (bits_[i] == (*found)->bit) bit_used_[i] = false;
  }
  clients_.erase(found);
  if (++stale_pools_ > kMaxStalePools) give_up("too many pools of former sessions");
}

void Driver::on_interrupt() {
  device_.acknowledge();
  if (device_.needs_reset()) give_up("the device asks to be reset");
  finish_chains();
  pump_all();
}

// Whether any was done.
bool Driver::finish_chains() {
  bool any = false;
  for (;;) {
    const Result<std::optional<Used>> taken = queue_.take();
    if (!taken.has_value()) give_up("the device returned what it was not given");
    if (!taken->has_value()) return any;
    any = true;
    const u16 chain = (*taken)->chain;
    const u16 header = header_of_[chain];
    const u8 status = headers_.mapping.as<volatile Header>()[header].status;
    free_headers_.push_back(header);  // was reserved: does not allocate
    const Pending done = std::exchange(pending_[chain], {});
    if (done.client == nullptr) continue;
    --done.client->in_flight;
    if (!complete(*done.client, done.id, status_of(status))) drop(done.client->badge);
  }
}

void Driver::pump_all() {
  for (usize i = clients_.size(); i-- > 0;) pump(*clients_[i]);
}

void Driver::pump(Client& client) {
  const u64 badge = client.badge;
  bool more = true;
  bool alive = true;
  while (alive && more) alive = take_requests(client, &more);
  if (queue_.publish()) device_.notify();
  if (!alive) drop(badge);
}

// Takes what there is, as long as there is room for it and its completion (I1). *more: there may be more already.
bool Driver::take_requests(Client& c, bool* more) {
  *more = false;
  for (;;) {
    const Result<u32> room = c.completions.room();
    if (!room.has_value()) return false;
    if (*room <= c.in_flight) {
      if (c.in_flight != 0) return true;  // goes on when one of them is done
      const Result<bool> asleep = c.completions.prepare_to_sleep();
      *more = asleep.has_value() && !*asleep;
      return asleep.has_value();
    }
    if (!c.held) {
      const Result<Doorbell> popped = c.requests.pop(&c.request);
      if (popped.status() == Status::would_block) {
        const Result<bool> asleep = c.requests.prepare_to_sleep();
        *more = asleep.has_value() && !*asleep;
        return asleep.has_value();
      }
      if (!popped.has_value()) return false;
      // The client waits for completions, not for room: it never has more requests than the ring has entries.
    }
    const Status wrong = check(c, c.request);
    const Status status = wrong != Status::ok ? wrong : submit(c, c.request);
    c.held = wrong == Status::ok && status == Status::would_block;
    if (c.held) return true;                  // goes on when the device returned something
    if (status == Status::restart) continue;  // it is at the device
    if (!complete(c, c.request.id, status)) return false;
  }
}

Status Driver::check(const Client& c, const BlockRequest& r) const {
  if (r.operation == BlockOperation::flush) return r.bytes == 0 ? Status::ok : Status::invalid_argument;
  if (r.operation != BlockOperation::read && r.operation != BlockOperation::write) return Status::invalid_argument;
  if (r.bytes == 0 || r.bytes > kMaxBlockBytes || r.bytes % kBlockSectorBytes != 0 ||
      r.pool_offset % kBlockSectorBytes != 0) {
    return Status::invalid_argument;
  }
  const u64 pool_bytes = c.pool.size() * kPageSize;
  if (r.pool_offset > pool_bytes || r.bytes > pool_bytes - r.pool_offset) return Status::out_of_range;
  const u64 count = r.bytes / kBlockSectorBytes;
  if (r.first_sector > sectors_ || count > sectors_ - r.first_sector) return Status::out_of_range;
  if (r.operation == BlockOperation::write && read_only_) return Status::read_only;
  return Status::ok;
}

// Restart: the device has it.
Status Driver::submit(Client& c, const BlockRequest& r) {
  const bool is_flush = r.operation == BlockOperation::flush;
  if (is_flush && !can_flush_) return Status::ok;  // such a device writes through
  if (free_headers_.empty()) return Status::would_block;
  const u16 slot = free_headers_.back();
  volatile Header& header = headers_.mapping.as<volatile Header>()[slot];
  const u64 header_address = headers_.address + slot * sizeof(Header);

  std::array<Segment, kMaxSegments> segments;
  usize count = 0;
  segments[count++] = {header_address, kHeaderBytes, false};
  const bool to_memory = r.operation == BlockOperation::read;
  for (u64 done = 0; done < r.bytes;) {
    const u64 at = r.pool_offset + done;
    const u64 address = c.pool[at / kPageSize] + at % kPageSize;
    const u32 bytes = static_cast<u32>(std::min(kPageSize - at % kPageSize, r.bytes - done));
    Segment& last = segments[count - 1];
    if (count > 1 && last.address + last.bytes == address) {
      last.bytes += bytes;
    } else {
      segments[count++] = {address, bytes, to_memory};
    }
    done += bytes;
  }
  segments[count++] = {header_address + kHeaderBytes, 1, true};

  header.type = is_flush ? kTypeFlush : to_memory ? kTypeRead : kTypeWrite;
  header.reserved = 0;
  header.sector = is_flush ? 0 : r.first_sector;
  header.status = kStatusNone;
  const Result<u16> chain = queue_.submit({segments.data(), count});
  if (!chain.has_value()) return chain.error();
  free_headers_.pop_back();
  header_of_[*chain] = slot;
  pending_[*chain] = {&c, r.id};
  ++c.in_flight;
  return Status::restart;
}

// False: the session is lost.
bool Driver::complete(Client& c, u64 id, Status status) {
  const Result<Doorbell> pushed = c.completions.push({.id = id, .status = static_cast<u32>(status), .reserved = 0});
  if (!pushed.has_value()) return false;
  if (*pushed == Doorbell::not_needed) return true;
  return sys::notification_signal(c.completion.get(), c.completion_bits).has_value();
}

}  // namespace keel::virtio
