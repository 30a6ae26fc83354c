/* Preloaded into a process, it lets the n-th call beneath a folder fail, or ends the process there.
 *
 * VECPORT_SHIM_CALL   write, fsync, rename, open or read
 * VECPORT_SHIM_UNDER  a folder; only files beneath it count
 * VECPORT_SHIM_N      which call, from 1; every one from there on with VECPORT_SHIM_ALL
 * VECPORT_SHIM_ERRNO  what it fails with; 0 kills the process
 * VECPORT_SHIM_COUNT  a file that gets one byte for each call that counted
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long seen;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int beneath(const char *path) {
    const char *under = getenv("VECPORT_SHIM_UNDER");
    size_t size = under ? strlen(under) : 0;
    return size && path && strncmp(path, under, size) == 0 && (path[size] == '/' || path[size] == 0);
}

/* Whether this call fails; errno is set then. */
static int fails(const char *call, const char *path) {
    const char *chosen = getenv("VECPORT_SHIM_CALL"), *count = getenv("VECPORT_SHIM_COUNT");
    if (!chosen || strcmp(chosen, call) != 0 || !beneath(path)) return 0;
    long number = atomic_fetch_add(&seen, 1) + 1;
    long at = atol(getenv("VECPORT_SHIM_N") ? getenv("VECPORT_SHIM_N") : "0");
    if (count) {
        int fd = REAL(open)(count, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (fd >= 0) {
            if (REAL(write)(fd, ".", 1) < 0) errno = 0;
            close(fd);
        }
    }
    if (!at || number < at || (number > at && !getenv("VECPORT_SHIM_ALL"))) return 0;
    int error = atoi(getenv("VECPORT_SHIM_ERRNO") ? getenv("VECPORT_SHIM_ERRNO") : "5");
    if (!error) kill(getpid(), SIGKILL);
    errno = error;
    return 1;
}

static int fails_at(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    if (!getenv("VECPORT_SHIM_CALL") || strcmp(getenv("VECPORT_SHIM_CALL"), call) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(call, path);
}

static int fails_from(const char *call, int folder, const char *path) {
    char link[64], full[2 * PATH_MAX];
    if (path[0] == '/') return fails(call, path);
    snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
    ssize_t size = readlink(link, full, PATH_MAX);
    if (size < 0) return 0;
    snprintf(full + size, sizeof full - size, "/%s", path);
    return fails(call, full);
}

#define MODE(mode, flags, last) \
    mode_t mode = 0;            \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, last); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) {
    MODE(mode, flags, flags)
    return fails_from("open", AT_FDCWD, path) ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(mode, flags, flags)
    return fails_from("open", AT_FDCWD, path) ? -1 : REAL(open64)(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(mode, flags, flags)
    return fails_from("open", folder, path) ? -1 : REAL(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(mode, flags, flags)
    return fails_from("open", folder, path) ? -1 : REAL(openat64)(folder, path, flags, mode);
}
ssize_t write(int fd, const void *data, size_t size) {
    return fails_at("write", fd) ? -1 : REAL(write)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return fails_at("write", fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails_at("write", fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return fails_at("write", fd) ? -1 : REAL(writev)(fd, parts, count);
}
ssize_t read(int fd, void *data, size_t size) {
    return fails_at("read", fd) ? -1 : REAL(read)(fd, data, size);
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    return fails_at("read", fd) ? -1 : REAL(pread)(fd, data, size, at);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    return fails_at("read", fd) ? -1 : REAL(pread64)(fd, data, size, at);
}
int fsync(int fd) { return fails_at("fsync", fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails_at("fsync", fd) ? -1 : REAL(fdatasync)(fd); }
int rename(const char *from, const char *to) {
    return fails_from("rename", AT_FDCWD, to) ? -1 : REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    return fails_from("rename", b, to) ? -1 : REAL(renameat)(a, from, b, to);
}
int link(const char *from, const char *to) {
    return fails_from("rename", AT_FDCWD, to) ? -1 : REAL(link)(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    return fails_from("rename", b, to) ? -1 : REAL(linkat)(a, from, b, to, flags);
}
