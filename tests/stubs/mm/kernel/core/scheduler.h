#pragma once
namespace keel {
class Scheduler {};
}  // namespace keel
