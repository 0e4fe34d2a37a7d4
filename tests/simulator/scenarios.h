// The scenarios that stand in files of their own.
#pragma once

#include "tests/simulator/world.h"

namespace keel::simulator {

std::function<void()> mix(World& world);      // mix.cc
std::function<void()> balance(World& world);  // balance.cc

}  // namespace keel::simulator
