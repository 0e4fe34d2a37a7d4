// Decoding and dispatch of the plain calls, generated from abi/calls.toml.
#include "kernel/syscall/dispatch.inc"
