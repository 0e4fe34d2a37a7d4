// The vocabulary of permissions that manifests may use beside ports and kernel capabilities, and what each word comes
// to in object capabilities. The kernel knows none of them.
//
//   capabilities = file_read(/etc), hw_disk, ipc_send
//
// word                     gives
// file_read                a session of the vfs
// file_read(PATH)          one that reaches PATH and what is below it
// file_execute             as file_read: a program is a file that is read; to run it process_spawn
// hw_disk                  the port `block`
// device_access(DEVICE)    disk: `block`; console: `console`
// sys_admin                `manager` (commands to others), `names`, kernel-info, kernel-log, kernel-trace, kernel-audit
// sys_reboot               reboot
// ipc_send ipc_recv ipc_create process_spawn
//                          nothing more: calling the ports in `uses`, serving those in `provides`, and making ports and
//                          processes in one's own group is what every service may do
// app_set                  file_read ipc_send ipc_recv
// service_set              file_read file_execute ipc_send ipc_recv ipc_create
// driver_set               nothing more than the device that `match` names; drivers only
// admin_set                app_set sys_admin
//
// A word whose service does not exist yet is refused by name, never ignored: file_write, all of the network (net_listen
// net_connect net_raw net_bind(PORT) net_admin iface_control route_modify), hw_usb hw_audio hw_video, sys_chroot.
// See          permissions_test.cc, docs/subsystems/service-manager.md
#pragma once

#include "user/services/manager/config.h"

namespace keel::manager {

// What words have given so far, to be merged into a Service.
struct PermissionGrants {
  ConfigList<std::string_view> files;  // paths that the vfs session reaches; "/": all
  ConfigList<std::string_view> uses;
  ConfigList<CapabilityKind> capabilities;
};

enum class PermissionOutcome : u8 {
  unknown,  // no word of the vocabulary
  granted,
  refused,  // `why` says it in a sentence
};
PermissionOutcome grant_permission(std::string_view item, bool is_driver, PermissionGrants& grants, Sentence& why);

}  // namespace keel::manager
