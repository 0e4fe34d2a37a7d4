// Empty: Keel has no sched.h.
#pragma once
