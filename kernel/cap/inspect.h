// What a derivation tree says about a capability: for those who audit (capability_list).
#pragma once

#include "abi/types.h"
#include "kernel/cap/space.h"

namespace keel {

struct NodeDescription {
  NodeWhat what = NodeWhat::capability;
  ObjectKind kind = ObjectKind::none;
  Rights rights = 0;
  u8 depth = 0;
  u64 process = 0;  // that holds it
  CapIndex index;
  u64 object = 0;
  u64 scope = 0;
  Deadline expiry = kForever;
  u64 children = 0;  // packed as capability_list says
};

// The node, or its ancestor `up` generations above. Errors: not_found (above the root).
Result<NodeDescription> describe_node(Cpu& cpu, CapNode& node, u64 up);

}  // namespace keel
