// Declarations that libc++ names; none of these functions exists in Keel.
#pragma once
#include <stdarg.h>
#include <stddef.h>
#define EOF (-1)
#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2
#ifdef __cplusplus
extern "C" {
#endif
typedef struct keel_no_file FILE;
typedef long fpos_t;
int remove(const char*);
int rename(const char*, const char*);
int snprintf(char*, size_t, const char*, ...);
int vsnprintf(char*, size_t, const char*, va_list);
#ifdef __cplusplus
}
#endif
