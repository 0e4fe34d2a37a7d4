// What an operation costs on a machine with more CPUs.
#pragma once

namespace keel::simulator {

// Counts the accesses to Atomics per operation with 1, 4, 16 ... 1,024 CPUs, once with all other CPUs idle and once
// with up to 63 of them doing the same, and prints a table. False if a count grows.
bool measure_scale();

}  // namespace keel::simulator
