#pragma once
namespace keel::arch {
struct CpuState {};
}  // namespace keel::arch
