// vfs: joins file systems into one tree. Each argument PATH=PORT mounts the file system behind that port of `uses`; the
// one at "/" is the root. Keeps nothing between requests, so a successor goes on where it died.
#include <array>

#include "base/inplace_vector.h"
#include "idl/file_system.h"
#include "idl/vfs.h"
#include "user/runtime/dir_entries.h"
#include "user/runtime/print.h"
#include "user/runtime/service_loop.h"
#include "user/runtime/start.h"
#include "user/services/vfs/access.h"
#include "user/services/vfs/path_walk.h"

namespace keel::vfs {
namespace {

// Cookies of read_dir() from here on mean mount points.
constexpr u64 kMountCookie = u64{1} << 63;

struct Mount {
  std::string_view path;  // "" is the root
  std::string_view name;  // of the port
  FileSystemClient client;
  u64 root = 0;  // its inode; 0: not asked yet
};

class Mounts final : public FileSystems {
 public:
  void add(std::string_view path, std::string_view port) {
    const Mount mount{path == "/" ? "" : path, port, FileSystemClient(find_capability(port))};
    if (!list_.push_back(mount)) log_warning("vfs: more than {} mounts, {} is left out", kMaxMounts, path);
  }
  bool has_root() const { return list_.size() > 0 && list_[0].path.empty(); }
  void sort() {  // the root first
    for (usize i = 1; i < list_.size(); ++i) {
      if (list_[i].path.empty()) std::swap(list_[0], list_[i]);
    }
  }
  Mount& operator[](usize number) { return list_[number]; }

  usize count() const override { return list_.size(); }
  std::string_view path(usize number) const override { return list_[number].path; }
  Result<NodeInfo> root(usize number) override {
    Mount& mount = list_[number];
    if (!mount.client) return Status::io_error;
    if (mount.root == 0) {
      const FileSystemStatfsResult about = TRY(mount.client.statfs());
      if (about.root == 0) return TRY(mount.client.stat(0));  // says why
      mount.root = about.root;
    }
    return mount.client.stat(mount.root);
  }
  Result<NodeInfo> lookup(usize number, u64 directory, std::string_view name) override {
    return list_[number].client.lookup(directory, name);
  }
  Result<FixedString<1024>> read_link(usize number, u64 inode) override {
    return list_[number].client.read_link(inode);
  }

  // The name of mount `number` if it is right below the directory of that canonical path; else empty.
  std::string_view name_below(usize number, std::string_view directory) const {
    const std::string_view path = list_[number].path;
    if (path.size() <= directory.size() + 1 || !path.starts_with(directory) || path[directory.size()] != '/') return {};
    const std::string_view name = path.substr(directory.size() + 1);
    return name.find('/') == std::string_view::npos ? name : std::string_view();
  }

 private:
  InplaceVector<Mount, kMaxMounts> list_;
};

// The mounts as a caller sees them.
class CallersMounts final : public FileSystems {
 public:
  CallersMounts(Mounts& mounts, const Caller& caller) : mounts_(mounts), caller_(caller) {}
  usize count() const override { return mounts_.count(); }
  std::string_view path(usize number) const override { return mounts_.path(number); }
  Result<NodeInfo> root(usize number) override { return mounts_.root(number); }
  Result<NodeInfo> lookup(usize number, u64 directory, std::string_view name) override {
    return mounts_.lookup(number, directory, name);
  }
  Result<FixedString<1024>> read_link(usize number, u64 inode) override { return mounts_.read_link(number, inode); }
  bool may_search(const NodeInfo& directory) const override { return caller_.may_search(directory); }

 private:
  Mounts& mounts_;
  const Caller& caller_;
};

class Vfs final : public VfsServer {
 public:
  explicit Vfs(Mounts& mounts) : mounts_(mounts) {}

  Result<NodeInfo> stat(Session session, std::string_view path) override {
    return TRY(walk(TRY(caller(session)), path, LastLink::keep, 0)).info;
  }

  Result<VfsResolveReply> resolve(Session session, std::string_view path) override {
    const Caller who = TRY(caller(session));
    const Place place = TRY(walk(who, path, LastLink::follow, kAccessRead));
    const FileSystemClient& client = mounts_[place.file_system].client;
    // Who does not get all gets this one node.
    if (who.is_restricted())
      return VfsResolveReply{.file_system = TRY(client.open(place.info.inode)), .info = place.info};
    return VfsResolveReply{.file_system = GivenCap(client.port()), .info = place.info};
  }

  Result<FixedString<1024>> read_link(Session session, std::string_view path) override {
    const Place place = TRY(walk(TRY(caller(session)), path, LastLink::keep, 0));
    return mounts_.read_link(place.file_system, place.info.inode);
  }

  Result<FixedBytes<3072>> read_dir(Session session, std::string_view path, u64 cookie) override {
    const Place place = TRY(walk(TRY(caller(session)), path, LastLink::follow, kAccessRead));
    if (place.info.type != static_cast<u32>(FileType::directory)) return Status::not_a_directory;
    FixedBytes<3072> out;
    while (cookie < kMountCookie && out.empty()) {
      const FixedBytes<3072> found = TRY(mounts_[place.file_system].client.read_dir(place.info.inode, cookie));
      const u64 before = cookie;
      TRY(for_each_entry(found.span(), [&](const DirectoryEntry& entry) {
        cookie = entry.cookie;
        if (!is_mount(place.path, entry.name)) append_entry(out, entry);  // fits: it came from such an array
        return true;
      }));
      if (found.empty()) cookie = kMountCookie;
      if (!found.empty() && cookie <= before) return Status::corrupt;
    }
    if (!out.empty()) return out;
    for (u64 i = cookie & ~kMountCookie; i < mounts_.count(); ++i) {
      const std::string_view name = mounts_.name_below(i, place.path);
      if (name.empty()) continue;
      const u64 inode = mounts_[i].root;
      if (!append_entry(out, {inode == 0 ? 2 : inode, kMountCookie | (i + 1), FileType::directory, name})) break;
    }
    return out;
  }

  Result<VfsMountsReply> mounts(Session, u64 cursor) override {
    if (cursor >= mounts_.count()) return Status::not_found;
    Mount& mount = mounts_[cursor];
    VfsMountsReply reply;
    reply.next = cursor + 1;
    reply.path = mount.path.empty() ? "/" : mount.path;
    reply.type = mount.name;
    if (!mount.client) {
      reply.problem = "its service does not run";
      return reply;
    }
    const Result<FileSystemStatfsResult> about = mount.client.statfs();
    if (!about.has_value()) {
      char text[112];
      reply.problem = format_to(text, "{}: {}", mount.name, status_text(about.error()));
      return reply;
    }
    reply.type = about->type;
    reply.label = about->label;
    reply.blocks = about->blocks;
    reply.free_blocks = about->free_blocks;
    reply.block_bytes = about->block_bytes;
    reply.problem = about->problem;
    return reply;
  }

 private:
  Result<Caller> caller(Session session) {
    const Labels labels = TRY(caller_labels());  // before anything else is asked of anybody
    return Caller(*TRY(access_.of(session.badge)), labels);
  }
  Result<Place> walk(const Caller& who, std::string_view path, LastLink last, u32 wanted) {
    CallersMounts mounts(mounts_, who);
    Place place = TRY(walk_path(mounts, path, last));
    TRY(who.check(place.path, place.info, wanted));
    return place;
  }

  bool is_mount(std::string_view directory, std::string_view name) const {
    for (usize i = 1; i < mounts_.count(); ++i) {
      if (mounts_.name_below(i, directory) == name) return true;
    }
    return false;
  }

  Mounts& mounts_;
  AccessTable access_{ManagerClient(find_capability("manager"))};
};

}  // namespace
}  // namespace keel::vfs

int main() {
  using namespace keel;
  vfs::Mounts mounts;
  for (u32 i = 0; i < argument_count(); ++i) {
    const std::string_view text = argument(i);
    const usize equals = text.find('=');
    if (!text.starts_with('/') || equals == std::string_view::npos) continue;  // not a mount: heartbeat=...
    mounts.add(text.substr(0, equals), text.substr(equals + 1));
  }
  mounts.sort();
  if (!mounts.has_root()) fatal("vfs: no argument mounts a file system at /");
  vfs::Vfs service(mounts);
  ServiceLoop loop(find_capability("serve.vfs"));
  loop.add(service);
  loop.run();
}
