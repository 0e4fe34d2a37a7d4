#pragma once
namespace keel {
class TraceRing {};
}  // namespace keel
