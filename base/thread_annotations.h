// Clang's thread-safety analysis, spelled short. A missing lock, a wrong lock or a wrong order fails the build.
#pragma once

#define KEEL_ANNOTATE(x) __attribute__((x))
#define CAPABILITY(name) KEEL_ANNOTATE(capability(name))
#define SCOPED_CAPABILITY KEEL_ANNOTATE(scoped_lockable)
#define GUARDED_BY(lock) KEEL_ANNOTATE(guarded_by(lock))
#define PT_GUARDED_BY(lock) KEEL_ANNOTATE(pt_guarded_by(lock))
#define REQUIRES(...) KEEL_ANNOTATE(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) KEEL_ANNOTATE(acquire_capability(__VA_ARGS__))
#define RELEASE(...) KEEL_ANNOTATE(release_capability(__VA_ARGS__))
#define EXCLUDES(...) KEEL_ANNOTATE(locks_excluded(__VA_ARGS__))
#define ASSERT_HELD(...) KEEL_ANNOTATE(assert_capability(__VA_ARGS__))
#define ACQUIRED_AFTER(...) KEEL_ANNOTATE(acquired_after(__VA_ARGS__))
#define RETURNS_LOCK(x) KEEL_ANNOTATE(lock_returned(x))
#define NO_THREAD_SAFETY_ANALYSIS KEEL_ANNOTATE(no_thread_safety_analysis)
