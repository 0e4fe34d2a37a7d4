// initfs: the boot archive as a read-only file system. Node 1 is the root, node n + 2 the n-th entry of the archive:
// the same numbers after every restart.
#include <cstring>
#include <vector>

#include "idl/file_system.h"
#include "user/fs/file_buffers.h"
#include "user/runtime/cpio.h"
#include "user/runtime/dir_entries.h"
#include "user/runtime/print.h"
#include "user/runtime/service_loop.h"
#include "user/runtime/start.h"

namespace keel {
namespace {

constexpr u64 kRoot = 1;

struct Node {
  CpioEntry entry;
  std::string_view name;  // last component
  u64 parent = kRoot;
};

class InitFs final : public FileSystemServer {
 public:
  InitFs(const CpioArchive& archive, CapIndex port) : port_(port) {
    nodes_.push_back({});
    nodes_.push_back({{".", CpioType::directory, 0755, 0, {}}, "", kRoot});
    for (const CpioEntry& entry : archive) nodes_.push_back({entry, "", 0});
    for (u64 i = kRoot + 1; i < nodes_.size(); ++i) {
      Node& node = nodes_[i];
      const std::string_view path = node.entry.name;
      const usize slash = path.rfind('/');
      node.name = slash == std::string_view::npos ? path : path.substr(slash + 1);
      node.parent = slash == std::string_view::npos ? kRoot : find(path.substr(0, slash));
      if (path == ".") node.parent = 0;  // the root itself is not shown
    }
  }

  Result<FileSystemStatfsReply> statfs(Session) override {
    FileSystemStatfsReply reply;
    reply.type = "initfs";
    reply.label = "boot archive";
    reply.block_bytes = kPageSize;
    for (const Node& node : nodes_) reply.blocks += align_up(node.entry.data.size(), kPageSize) / kPageSize;
    reply.root = kRoot;
    reply.read_only = true;
    return reply;
  }

  Result<NodeInfo> stat(Session session, u64 inode) override { return info(node_of(session.badge, inode)); }

  Result<NodeInfo> lookup(Session session, u64 directory, std::string_view name) override {
    directory = TRY(directory_of(node_of(session.badge, directory)));
    for (u64 i = kRoot + 1; i < nodes_.size(); ++i) {
      if (nodes_[i].parent == directory && nodes_[i].name == name) return info(i);
    }
    return Status::not_found;
  }

  Result<FixedBytes<3072>> read_dir(Session session, u64 directory, u64 cookie) override {
    directory = TRY(directory_of(node_of(session.badge, directory)));
    FixedBytes<3072> out;
    for (u64 i = cookie > kRoot ? cookie : kRoot + 1; i < nodes_.size(); ++i) {
      if (nodes_[i].parent != directory) continue;
      if (!append_entry(out, {i, i + 1, type_of(nodes_[i]), nodes_[i].name})) break;
    }
    return out;
  }

  Result<FixedString<1024>> read_link(Session session, u64 inode) override {
    const Node& node = *TRY(node_at(node_of(session.badge, inode)));
    if (node.entry.type != CpioType::symlink) return Status::invalid_argument;
    return FixedString<1024>(
        std::string_view(reinterpret_cast<const char*>(node.entry.data.data()), node.entry.data.size()));
  }

  Result<GivenCap> open(Session session, u64 inode) override {
    inode = node_of(session.badge, inode);
    TRY(node_at(inode));
    return GivenCap(TRY(open_node(port_, inode)));
  }

  Result<u64> attach_buffer(Session, Cap buffer) override { return buffers_.attach(buffer); }

  Result<u64> read(Session session, u64 inode, u64 offset, u64 length, u64 buffer, u64 buffer_offset) override {
    const std::span<const std::byte> data = TRY(content(node_of(session.badge, inode), offset, length));
    const std::span<std::byte> out = TRY(buffers_.range(buffer, buffer_offset, length));
    if (!data.empty()) std::memcpy(out.data(), data.data(), data.size());
    return u64{data.size()};
  }

  Result<FixedBytes<3072>> read_small(Session session, u64 inode, u64 offset, u32 length) override {
    if (length > FixedBytes<3072>::capacity()) length = FixedBytes<3072>::capacity();
    return FixedBytes<3072>(TRY(content(node_of(session.badge, inode), offset, length)));
  }

 private:
  static FileType type_of(const Node& node) {
    switch (node.entry.type) {
      case CpioType::file:
        return FileType::regular;
      case CpioType::directory:
        return FileType::directory;
      case CpioType::symlink:
        return FileType::symlink;
    }
    return FileType::unknown;
  }

  // Node of a directory's path; 0 (nowhere) if the archive has no entry for it.
  u64 find(std::string_view path) const {
    for (u64 i = kRoot + 1; i < nodes_.size(); ++i) {
      if (nodes_[i].entry.name == path) return i;
    }
    return 0;
  }
  Result<const Node*> node_at(u64 inode) const {
    if (inode < kRoot || inode >= nodes_.size()) return Status::not_found;
    return &nodes_[inode];
  }
  Result<u64> directory_of(u64 inode) const {
    if (TRY(node_at(inode))->entry.type != CpioType::directory) return Status::not_a_directory;
    return inode;
  }
  Result<NodeInfo> info(u64 inode) const {
    const Node& node = *TRY(node_at(inode));
    return NodeInfo{.inode = inode,
                    .type = static_cast<u32>(type_of(node)),
                    .mode = node.entry.mode,
                    .size = node.entry.data.size(),
                    .links = node.entry.type == CpioType::directory ? 2u : 1u,
                    .mtime = node.entry.mtime,
                    .blocks = (node.entry.data.size() + 511) / 512};
  }
  Result<std::span<const std::byte>> content(u64 inode, u64 offset, u64 length) const {
    const Node& node = *TRY(node_at(inode));
    if (node.entry.type == CpioType::directory) return Status::is_a_directory;
    const std::span<const std::byte> data = node.entry.data;
    if (offset >= data.size()) return std::span<const std::byte>();
    return data.subspan(offset, length < data.size() - offset ? length : data.size() - offset);
  }

  CapIndex port_;
  std::vector<Node> nodes_;
  FileBuffers buffers_;
};

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  const CapIndex port = find_capability("serve.initfs");
  const Result<Mapping> initrd = Mapping::map(find_capability("initrd"), Access::read);
  if (!initrd.has_value()) fatal("initfs: the boot archive cannot be mapped");
  const Result<CpioArchive> archive = CpioArchive::open(initrd->bytes());
  if (!archive.has_value()) fatal("initfs: the boot archive is damaged");
  InitFs fs(*archive, port);
  ServiceLoop loop(port);
  loop.add(fs);
  loop.run();
}
