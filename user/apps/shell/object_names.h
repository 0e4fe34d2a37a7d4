// ObjectNames: the kernel's numbers as people know them: ports by their names, their badges by who calls through them.
//
// Costs        one call of the service manager for each port when it is made, and one for each badge that is shown.
#pragma once

#include <vector>

#include "abi/objects.h"
#include "base/fixed.h"
#include "idl/manager.h"

namespace keel::shell {

class ObjectNames {
 public:
  explicit ObjectNames(ManagerClient manager);
  // The number of the port of that name; 0 if there is none.
  u64 port(std::string_view name) const;
  // "port vfs", "process shell", "memory 71", "kernel_control".
  FixedString<64> object(ObjectKind kind, u64 number) const;
  // Of a named port's badge who calls through it, of ranges first and last, else a number; "-" for none.
  FixedString<40> scope(ObjectKind kind, u64 object, u64 scope) const;

 private:
  struct Port {
    FixedString<31> name;
    u64 object;
  };
  const Port* find(u64 object) const;

  ManagerClient manager_;
  std::vector<Port> ports_;
};

}  // namespace keel::shell
