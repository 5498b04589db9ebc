/* Lets the system's calls fail, as real systems do. Preloaded (LD_PRELOAD) into the command by tests/faults.rs.
 *
 * FAULT_CALL   the call: open, write, fsync, rename, ftruncate, flock, read, stat, unlink, mkdir
 * FAULT_ERRNO  the number of the error
 * FAULT_NTH    which call of that kind fails, from 1 on; 0 for every one from the first on
 * FAULT_PATH   only calls on files whose path contains this
 * FAULT_COUNT  a file to which a byte is added at each such call, to know how many there are
 *
 * Calls on what is not below FAULT_PATH pass through.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int seen;

/* Whether this call, on a file of this path, is to fail. */
static int fails(const char *call, const char *path) {
  const char *wanted = getenv("FAULT_CALL"), *part = getenv("FAULT_PATH");
  if (!wanted || strcmp(wanted, call) || !path || (part && !strstr(path, part))) return 0;
  int now = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
  const char *count = getenv("FAULT_COUNT");
  if (count) {
    long file = syscall(SYS_openat, AT_FDCWD, count, O_WRONLY | O_APPEND | O_CREAT, 0600);
    syscall(SYS_write, file, ".", 1);
    syscall(SYS_close, file);
  }
  int nth = atoi(getenv("FAULT_NTH") ? getenv("FAULT_NTH") : "0");
  if (nth && nth != now) return 0;
  const char *number = getenv("FAULT_ERRNO");
  if (!number || !atoi(number)) return 0;
  errno = atoi(number);
  return 1;
}

/* The path of an open file. */
static const char *path_of(int file) {
  static __thread char path[PATH_MAX];
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
  path[length > 0 ? length : 0] = 0;
  return path;
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)

static int open_mode(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0; }

#define OPEN(name)                                                \
  int name(const char *path, int flags, ...) {                    \
    va_list more; va_start(more, flags);                          \
    int mode = open_mode(flags, more); va_end(more);              \
    if (fails("open", path)) return -1;                           \
    REAL(int, #name, const char *, int, ...);                     \
    return real(path, flags, mode);                               \
  }
OPEN(open)
OPEN(open64)

#define WITH_FILE(type, name, kind, parameters, arguments, ...)   \
  type name parameters {                                          \
    if (fails(kind, path_of(file))) return -1;                    \
    REAL(type, #name, __VA_ARGS__);                               \
    return real arguments;                                        \
  }
WITH_FILE(ssize_t, write, "write", (int file, const void *bytes, size_t count), (file, bytes, count), int, const void *, size_t)
WITH_FILE(ssize_t, read, "read", (int file, void *bytes, size_t count), (file, bytes, count), int, void *, size_t)
WITH_FILE(int, fsync, "fsync", (int file), (file), int)
WITH_FILE(int, fdatasync, "fsync", (int file), (file), int)
WITH_FILE(int, ftruncate, "ftruncate", (int file, off_t length), (file, length), int, off_t)
WITH_FILE(int, ftruncate64, "ftruncate", (int file, off64_t length), (file, length), int, off64_t)
WITH_FILE(int, flock, "flock", (int file, int operation), (file, operation), int, int)

#define WITH_PATH(name, kind, parameters, arguments, ...)         \
  int name parameters {                                           \
    if (fails(kind, path)) return -1;                             \
    REAL(int, #name, __VA_ARGS__);                                \
    return real arguments;                                        \
  }
WITH_PATH(rename, "rename", (const char *from, const char *path), (from, path), const char *, const char *)
WITH_PATH(unlink, "unlink", (const char *path), (path), const char *)
WITH_PATH(mkdir, "mkdir", (const char *path, mode_t mode), (path, mode), const char *, mode_t)
