// ext2: the file system server. Keeps nothing about its clients but their buffers: nodes are named by inode number, so
// a successor answers for files that its predecessor had opened.
//
// Data moves twice: by DMA into the ring's pool, in runs as long as the disk allows, and once by copying into the
// client's buffer. A disk that is missing or cannot be mounted leaves the server up: it says why in statfs(), answers
// everything else with the error, and looks again later.
#include <cstring>
#include <optional>

#include "idl/file_system.h"
#include "user/drivers/block_client.h"
#include "user/fs/ext2/ext2.h"
#include "user/fs/file_buffers.h"
#include "user/runtime/clock.h"
#include "user/runtime/dir_entries.h"
#include "user/runtime/print.h"
#include "user/runtime/service_loop.h"

namespace keel {
namespace {

constexpr u64 kLookAgain = 2 * kSecond;

constexpr u32 kBlockUse = 0;  // the place of `block` in `uses`

class Disk final : public ext2::BlockSource {
 public:
  explicit Disk(ServiceLoop& loop)
      : connection_(find_capability("block"), loop.notification(), loop.allocate_bit(), kBlockUse) {
    loop.on_restart(kBlockUse, [this] { connection_.driver_restarted(); });
  }
  Result<void> open() {
    if (!device_.has_value()) device_.emplace(TRY(BlockDevice::open(connection_)));
    return {};
  }
  Result<void> read(u64 byte_offset, std::span<std::byte> out) override { return device_->read(byte_offset, out); }
  u64 size() const override { return device_->geometry().bytes(); }

 private:
  BlockConnection connection_;
  std::optional<BlockDevice> device_;
};

class Ext2Server final : public FileSystemServer {
 public:
  explicit Ext2Server(ServiceLoop& loop) : port_(loop.port()), disk_(loop) { mount(); }

  Result<FileSystemStatfsReply> statfs(Session) override {
    FileSystemStatfsReply reply;
    reply.type = "ext2";
    reply.read_only = true;
    if (!ready().has_value()) {
      reply.problem = problem_;
      return reply;
    }
    reply.label = fs_->label();
    reply.block_bytes = fs_->block_bytes();
    reply.blocks = fs_->block_count();
    reply.free_blocks = fs_->free_blocks();
    reply.root = ext2::kRootInode;
    return reply;
  }

  Result<NodeInfo> stat(Session session, u64 inode) override { return info(TRY(node(session, inode))); }

  Result<NodeInfo> lookup(Session session, u64 directory, std::string_view name) override {
    const u32 from = TRY(node(session, directory));
    return info(TRY(fs_->lookup(from, name)));
  }

  Result<FixedBytes<3072>> read_dir(Session session, u64 directory, u64 cookie) override {
    const u32 from = TRY(node(session, directory));
    FixedBytes<3072> out;
    if (cookie == ext2::kEndOfDirectory) return out;
    TRY(fs_->read_dir(from, cookie, [&](const ext2::DirEntry& entry) {
      if (entry.name == "." || entry.name == "..") return true;
      return append_entry(out, {entry.inode, entry.next_cookie, static_cast<FileType>(entry.type), entry.name});
    }));
    return out;
  }

  Result<FixedString<1024>> read_link(Session session, u64 inode) override {
    char target[1024];
    const usize size = TRY(fs_->read_link(TRY(node(session, inode)), target));
    return FixedString<1024>(std::string_view(target, size));
  }

  Result<GivenCap> open(Session session, u64 inode) override {
    const u32 number = TRY(node(session, inode));
    TRY(fs_->inode(number));
    return GivenCap(TRY(open_node(port_, number)));
  }

  Result<u64> attach_buffer(Session, Cap buffer) override { return buffers_.attach(buffer); }

  Result<u64> read(Session session, u64 inode, u64 offset, u64 length, u64 buffer, u64 buffer_offset) override {
    const u32 number = TRY(node(session, inode));
    return u64{TRY(fs_->read(number, offset, TRY(buffers_.range(buffer, buffer_offset, length))))};
  }

  Result<FixedBytes<3072>> read_small(Session session, u64 inode, u64 offset, u32 length) override {
    const u32 number = TRY(node(session, inode));
    FixedBytes<3072> out;
    out.resize(length);
    out.resize(TRY(fs_->read(number, offset, {out.data(), out.size()})));
    return out;
  }

 private:
  void mount() {
    tried_at_ = now_ns();
    const std::string before(problem_.view());
    const Status status = try_mount();
    status_ = status;
    if (status == Status::ok) {
      problem_.clear();
      log_info("ext2: \"{}\", {} MiB in blocks of {} bytes", fs_->label(),
               fs_->block_count() * fs_->block_bytes() >> 20, fs_->block_bytes());
    } else if (before != problem_.view()) {
      log_warning("ext2: {}", problem_.view());
    }
  }

  Status try_mount() {
    if (find_capability("block") == kNoCapability) {
      problem_ = "no disk";
      return Status::io_error;
    }
    char text[112];
    if (const Result<void> opened = disk_.open(); !opened.has_value()) {
      problem_ = format_to(text, "the disk does not answer: {}", opened.error());
      return Status::io_error;
    }
    ext2::MountReason reason;
    Result<ext2::Ext2> mounted = ext2::Ext2::mount(disk_, &reason);
    if (!mounted.has_value()) {
      const bool damaged = mounted.error() == Status::corrupt;
      problem_ = format_to(text, "{}{}", damaged ? "no ext2 file system, or a damaged one: " : "", reason.c_str());
      return mounted.error();
    }
    fs_.emplace(std::move(*mounted));
    return Status::ok;
  }

  Result<void> ready() {
    if (!fs_.has_value() && status_ != Status::not_supported && now_ns() >= tried_at_ + kLookAgain) mount();
    return fs_.has_value() ? Status::ok : status_;
  }

  Result<u32> node(Session session, u64 inode) {
    TRY(ready());
    const u64 number = node_of(session.badge, inode);
    if (number > ~u32{0}) return Status::not_found;
    return static_cast<u32>(number);
  }

  Result<NodeInfo> info(u32 number) {
    const ext2::InodeInfo inode = TRY(fs_->inode(number));
    return NodeInfo{.inode = number,
                    .type = static_cast<u32>(inode.type),
                    .mode = inode.mode,
                    .size = inode.size,
                    .links = inode.links,
                    .uid = inode.uid,
                    .gid = inode.gid,
                    .mtime = inode.mtime,
                    .blocks = inode.blocks};
  }

  CapIndex port_;
  Disk disk_;
  std::optional<ext2::Ext2> fs_;
  Status status_ = Status::io_error;
  FixedString<112> problem_;
  u64 tried_at_ = 0;
  FileBuffers buffers_;
};

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  ServiceLoop loop(find_capability("serve.ext2"));
  Ext2Server server(loop);
  loop.add(server);
  loop.run();
}
