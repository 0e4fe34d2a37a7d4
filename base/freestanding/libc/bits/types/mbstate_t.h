// A type that libc++ names.
#pragma once
typedef struct {
  int unused;
} mbstate_t;
