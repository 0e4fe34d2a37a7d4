// The service manager's life, from its start block on.
#pragma once

#include <functional>

#include "user/runtime/service_loop.h"

namespace keel::manager {

// Serves for ever; comes back only when it cannot begin, with *what naming why. `before` runs when all is set up.
Result<void> run(const char** what, const std::function<void(ServiceLoop&)>& before = {});

}  // namespace keel::manager
