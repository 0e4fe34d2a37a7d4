#pragma once
namespace keel {
class TimerQueue {};
}  // namespace keel
