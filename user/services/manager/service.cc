// What the manager answers to others.
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/services/manager/manager.h"

namespace keel::manager {
namespace {

bool may_command(Session session) { return (session.badge & kBadgeControl) != 0; }

u64 own_pid() {
  const Result<sys::ProcessInfoResult> info = sys::process_info(self().process);
  return info.has_value() ? info->id : 0;
}

}  // namespace

Result<ManagerListReply> ManagerService::list(Session, u64 cursor) {
  const std::span<Record> records = manager_.table().records();
  if (cursor >= records.size()) return Status::not_found;
  const Record& r = records[cursor];
  ManagerListReply reply{.next = cursor + 1,
                         .name = text_of(r.name),
                         .state = static_cast<u32>(r.state),
                         .pid = r.process == 0 ? 0 : r.pid,
                         .restarts = static_cast<u32>(r.restarts),
                         .ready_ms = r.ready_ns / kMillisecond,
                         .dependencies = {},
                         .reason = text_of(r.reason)};
  if (const Service* service = manager_.service_of(r)) {
    for (const std::string_view need : service->needs) {
      if (!reply.dependencies.empty()) reply.dependencies.write(" ");
      reply.dependencies.write(need);
    }
  }
  return reply;
}

Result<void> ManagerService::kill(Session session, u64 pid) {
  if (!may_command(session)) return Status::access_denied;
  if (pid == own_pid()) exit_process(kExitKilled);  // the kernel starts another, which takes over
  Record* r = manager_.find_pid(pid);
  if (r == nullptr) return Status::not_found;
  manager_.kill(*r, kExitKilled);
  return {};
}

Result<GivenCap> ManagerService::inspect(Session session, u64 pid) {
  if (!may_command(session)) return Status::access_denied;
  if (pid == own_pid()) return GivenCap(TRY(derive(self().process, rights::inspect | rights::transfer)));
  Record* r = manager_.find_pid(pid);
  if (r == nullptr) return Status::not_found;
  return GivenCap(TRY(derive(CapIndex(r->process), rights::inspect | rights::transfer)));
}

Result<void> ManagerService::ready(Session session) {
  Record* r = manager_.caller(session);
  if (r == nullptr) return Status::not_found;
  manager_.report_ready(*r);
  return {};
}

void ManagerService::heartbeat(Session session) {
  if (Record* r = manager_.caller(session)) manager_.heartbeat(*r);
}

Result<GivenCap> ManagerService::state(Session session) {
  Record* r = manager_.caller(session);
  if (r == nullptr || r->memory == 0) return Status::not_found;
  return GivenCap(TRY(derive(CapIndex(r->memory), rights::transfer | rights::derive | rights::inspect |
                                                      rights::memory::read | rights::memory::write)));
}

Result<ManagerFileAccessReply> ManagerService::file_access(Session, u64 service, u64 index) {
  const std::span<Record> records = manager_.table().records();
  if (service == 0) return ManagerFileAccessReply{};  // ourselves
  const Service* s = service > records.size() ? nullptr : manager_.service_of(records[service - 1]);
  if (s == nullptr) return Status::not_found;
  return ManagerFileAccessReply{
      .path = index < s->files.size() ? FixedString<255>(s->files[index]) : FixedString<255>(),
      .labelled = s->uid != kNoLabel || s->gid != kNoLabel};
}

Result<void> ManagerService::restart(Session session, std::string_view name) {
  if (!may_command(session)) return Status::access_denied;
  Record* r = manager_.table().find(name);
  if (r == nullptr) return Status::not_found;
  manager_.restart(*r);
  return {};
}

Result<void> ManagerService::power(Session session, u32 action) {
  if (!may_command(session)) return Status::access_denied;
  return manager_.power(PowerAction{action});
}

Result<GivenCap> NamesService::lookup(Session session, std::string_view name) {
  if ((session.badge & kBadgeNames) == 0) return Status::access_denied;
  const Provider provider = find_provider(name, manager_.config(), manager_.table());
  if (provider.record == nullptr || provider.record->ports[provider.port] == 0) return Status::not_found;
  constexpr Rights kRights =
      rights::transfer | rights::derive | rights::inspect | rights::port::call | rights::port::send;
  return GivenCap(TRY(derive(CapIndex(provider.record->ports[provider.port]), kRights, session.badge & kBadgeRecord)));
}

Result<NamesListReply> NamesService::list(Session session, u64 cursor) {
  if ((session.badge & kBadgeNames) == 0) return Status::access_denied;
  // The cursor counts ports over all records.
  u64 number = 0;
  for (const Record& r : manager_.table().records()) {
    const Service* service = manager_.service_of(r);
    if (service == nullptr) continue;
    for (usize i = 0; i < service->provides.size(); ++i) {
      if (number++ < cursor) continue;
      const Result<sys::CapInfoResult> info = sys::cap_info(CapIndex(i < kMaxPorts ? r.ports[i] : 0));
      return NamesListReply{.next = number,
                            .name = instance_name(service->provides[i], instance_of(r)).view(),
                            .object = info.has_value() ? info->object : 0};
    }
  }
  return Status::not_found;
}

}  // namespace keel::manager
