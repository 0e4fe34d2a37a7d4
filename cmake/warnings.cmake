# Flags that every first-party file is compiled with.
set(KEEL_CXX_FLAGS
    -std=c++23 -g -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer
    -Wall -Wextra -Werror -Wthread-safety -Wthread-safety-beta -Wno-gnu-statement-expression-from-macro-expansion
    -ffile-prefix-map=${KEEL_ROOT}/=)
