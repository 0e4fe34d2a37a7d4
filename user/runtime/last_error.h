// Explains why a call of this thread failed: which right was missing, which kind of object was expected.
#pragma once

#include "abi/objects.h"
#include "user/runtime/thread_block.h"

namespace keel {

struct Explanation {
  LastError error;
  ObjectKind expected = ObjectKind::none;  // none: any
  ObjectKind found = ObjectKind::none;     // none: the index names nothing
  Rights needed = 0;
  Rights missing = 0;
};

// Of last_error(), which stays as it is.
Explanation explain_last_error();

}  // namespace keel
