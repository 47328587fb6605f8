/* fail_call: LD_PRELOAD shim that makes the Nth matching libc call misbehave.
 * Built and driven by fail_call.py; settings come from a shared state file named by
 * FAIL_CALL_STATE, so every process and thread of one run counts in the same sequence.
 *   cc -shared -fPIC -O1 -o fail_call.so fail_call.c -ldl
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* Keep in step with STATE in fail_call.py. */
struct state {
    _Atomic uint64_t count; /* matching calls so far */
    uint64_t n;             /* 1-based call to hit, 0: only count */
    uint64_t span;          /* how many calls in a row, 0: all from n on */
    _Atomic uint64_t hits;
    uint32_t err, mode, delay_ms, armed;
    char calls[512]; /* ",write,fsync," */
    char path[512];  /* prefix, or empty */
    char log[512];
};
enum { ERROR, AFTER, SHORT, LIE, KILL, KILLAFTER, DELAY };
static struct state *S;
static __thread int busy;

__attribute__((constructor)) static void start(void) {
    const char *p = getenv("FAIL_CALL_STATE");
    if (!p) return;
    int fd = syscall(SYS_openat, AT_FDCWD, p, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *m = mmap(0, sizeof *S, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (m != MAP_FAILED) S = m;
}

static int under(int dirfd, const char *path) {
    char buf[PATH_MAX + 32], link[64];
    size_t n = strlen(S->path);
    if (!n) return 1;
    if (!path || path[0] != '/') {
        if (dirfd == AT_FDCWD && path)
            strcpy(link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
        ssize_t r = syscall(SYS_readlink, link, buf, PATH_MAX);
        if (r <= 0) return 0;
        buf[r] = 0;
        if (path && *path) {
            strncat(buf, "/", sizeof buf - strlen(buf) - 1);
            strncat(buf, path, sizeof buf - strlen(buf) - 1);
        }
        path = buf;
    }
    return !strncmp(path, S->path, n);
}

/* -1: leave the call alone, else the mode to apply */
static int hit(const char *name, int dirfd, const char *path) {
    if (!S || !S->armed || busy) return -1;
    char key[40];
    snprintf(key, sizeof key, ",%s,", name);
    if (!strstr(S->calls, key)) return -1;
    busy = 1;
    int r = -1, saved = errno;
    if (under(dirfd, path)) {
        uint64_t i = atomic_fetch_add(&S->count, 1) + 1;
        int on = S->n && i >= S->n && (!S->span || i < S->n + S->span);
        if (S->log[0]) {
            char line[PATH_MAX + 128], fdp[64], what[PATH_MAX];
            ssize_t k = -1;
            if (!path) {
                snprintf(fdp, sizeof fdp, "/proc/self/fd/%d", dirfd);
                k = syscall(SYS_readlink, fdp, what, sizeof what - 1);
            }
            if (k >= 0) what[k] = 0;
            int len = snprintf(line, sizeof line, "%llu %d %s %s%s\n", (unsigned long long)i, getpid(), name,
                               path     ? path
                               : k >= 0 ? what
                                        : "?",
                               on ? " <-- hit" : "");
            int fd = syscall(SYS_openat, AT_FDCWD, S->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
            if (fd >= 0) {
                syscall(SYS_write, fd, line, len < (int)sizeof line ? len : (int)sizeof line - 1);
                syscall(SYS_close, fd);
            }
        }
        if (on) {
            atomic_fetch_add(&S->hits, 1);
            r = S->mode;
            if (r == KILL) syscall(SYS_kill, getpid(), SIGKILL);
            if (r == DELAY) {
                struct timespec t = {S->delay_ms / 1000, S->delay_ms % 1000 * 1000000L};
                syscall(SYS_nanosleep, &t, 0);
                r = -1;
            }
        }
    }
    busy = 0;
    errno = saved;
    return r;
}

#define REAL(ret, name, ...)         \
    static ret (*real)(__VA_ARGS__); \
    if (!real) real = (ret(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
/* CALL: the real call; LIED: what success looks like when nothing was done */
#define BODY(key, dirfd, path, CALL, LIED, ret)               \
    int m = hit(key, dirfd, path);                            \
    if (m == ERROR) {                                         \
        errno = S->err;                                       \
        return -1;                                            \
    }                                                         \
    if (m == LIE) return LIED;                                \
    ret r = CALL;                                             \
    if (m == AFTER) {                                         \
        errno = S->err;                                       \
        return -1;                                            \
    }                                                         \
    if (m == KILLAFTER) syscall(SYS_kill, getpid(), SIGKILL); \
    return r
/* transfers: SHORT moves half of it; a one-byte transfer then gives EINTR, never an end of file */
#define XFER(key, fd, FULL, HALF, len, LIED)                  \
    int m = hit(key, fd, 0);                                  \
    if (m == ERROR) {                                         \
        errno = S->err;                                       \
        return -1;                                            \
    }                                                         \
    if (m == SHORT) {                                         \
        if ((len) < 2) {                                      \
            errno = EINTR;                                    \
            return -1;                                        \
        }                                                     \
        return HALF;                                          \
    }                                                         \
    if (m == LIE) return LIED;                                \
    ssize_t r = FULL;                                         \
    if (m == AFTER) {                                         \
        errno = S->err;                                       \
        return -1;                                            \
    }                                                         \
    if (m == KILLAFTER) syscall(SYS_kill, getpid(), SIGKILL); \
    return r

#define OPENLIKE(fn)                                            \
    int fn(const char *p, int flags, ...) {                     \
        mode_t mo = 0;                                          \
        if (flags & (O_CREAT | __O_TMPFILE)) {                  \
            va_list a;                                          \
            va_start(a, flags);                                 \
            mo = va_arg(a, int);                                \
            va_end(a);                                          \
        }                                                       \
        REAL(int, #fn, const char *, int, ...);                 \
        BODY("open", AT_FDCWD, p, real(p, flags, mo), -1, int); \
    }
OPENLIKE(open)
OPENLIKE(open64)
#define OPENATLIKE(fn)                                      \
    int fn(int d, const char *p, int flags, ...) {          \
        mode_t mo = 0;                                      \
        if (flags & (O_CREAT | __O_TMPFILE)) {              \
            va_list a;                                      \
            va_start(a, flags);                             \
            mo = va_arg(a, int);                            \
            va_end(a);                                      \
        }                                                   \
        REAL(int, #fn, int, const char *, int, ...);        \
        BODY("open", d, p, real(d, p, flags, mo), -1, int); \
    }
    OPENATLIKE(openat) OPENATLIKE(openat64) int __open_2(const char *p, int f) {
    REAL(int, "__open_2", const char *, int);
    BODY("open", AT_FDCWD, p, real(p, f), -1, int);
}
int __open64_2(const char *p, int f) {
    REAL(int, "__open64_2", const char *, int);
    BODY("open", AT_FDCWD, p, real(p, f), -1, int);
}
int mkostemp(char *t, int f) {
    REAL(int, "mkostemp", char *, int);
    BODY("open", AT_FDCWD, t, real(t, f), -1, int);
}
int mkstemp(char *t) {
    REAL(int, "mkstemp", char *);
    BODY("open", AT_FDCWD, t, real(t), -1, int);
}
int mkstemp64(char *t) {
    REAL(int, "mkstemp64", char *);
    BODY("open", AT_FDCWD, t, real(t), -1, int);
}

#define FOPENLIKE(fn)                                  \
    FILE *fn(const char *p, const char *mo) {          \
        REAL(FILE *, #fn, const char *, const char *); \
        int m = hit("open", AT_FDCWD, p);              \
        if (m >= 0 && m != KILLAFTER) {                \
            errno = S->err;                            \
            return 0;                                  \
        }                                              \
        return real(p, mo);                            \
    }
FOPENLIKE(fopen) FOPENLIKE(fopen64) DIR *opendir(const char *p) {
    REAL(DIR *, "opendir", const char *);
    int m = hit("opendir", AT_FDCWD, p);
    if (m >= 0 && m != KILLAFTER) {
        errno = S->err;
        return 0;
    }
    return real(p);
}
DIR *fdopendir(int fd) {
    REAL(DIR *, "fdopendir", int);
    int m = hit("opendir", fd, 0);
    if (m >= 0 && m != KILLAFTER) {
        errno = S->err;
        return 0;
    }
    return real(fd);
}
#define READDIRLIKE(fn, T)                   \
    struct T *fn(DIR *d) {                   \
        REAL(struct T *, #fn, DIR *);        \
        int m = hit("readdir", dirfd(d), 0); \
        if (m >= 0 && m != KILLAFTER) {      \
            errno = S->err;                  \
            return 0;                        \
        }                                    \
        return real(d);                      \
    }
READDIRLIKE(readdir, dirent)
READDIRLIKE(readdir64, dirent64)

    ssize_t write(int fd, const void *b, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    XFER("write", fd, real(fd, b, n), real(fd, b, n / 2), n, (ssize_t)n);
}
ssize_t read(int fd, void *b, size_t n) {
    REAL(ssize_t, "read", int, void *, size_t);
    XFER("read", fd, real(fd, b, n), real(fd, b, n / 2), n, (memset(b, 0, n), (ssize_t)n));
}
#define PW(fn, O)                                                                   \
    ssize_t fn(int fd, const void *b, size_t n, O o) {                              \
        REAL(ssize_t, #fn, int, const void *, size_t, O);                           \
        XFER("write", fd, real(fd, b, n, o), real(fd, b, n / 2, o), n, (ssize_t)n); \
    }
PW(pwrite, off_t)
PW(pwrite64, off64_t)
#define PR(fn, O)                                                                                     \
    ssize_t fn(int fd, void *b, size_t n, O o) {                                                      \
        REAL(ssize_t, #fn, int, void *, size_t, O);                                                   \
        XFER("read", fd, real(fd, b, n, o), real(fd, b, n / 2, o), n, (memset(b, 0, n), (ssize_t)n)); \
    }
    PR(pread, off_t) PR(pread64, off64_t) static size_t vlen(const struct iovec *v, int c) {
    size_t s = 0;
    while (c-- > 0) s += v++->iov_len;
    return s;
}
static struct iovec *halve(const struct iovec *v, struct iovec *h) {
    *h = *v;
    h->iov_len = (h->iov_len + 1) / 2;
    return h;
}
ssize_t writev(int fd, const struct iovec *v, int c) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    struct iovec h;
    XFER("write", fd, real(fd, v, c), real(fd, halve(v, &h), 1), vlen(v, c), (ssize_t)vlen(v, c));
}
ssize_t readv(int fd, const struct iovec *v, int c) {
    REAL(ssize_t, "readv", int, const struct iovec *, int);
    struct iovec h;
    XFER("read", fd, real(fd, v, c), real(fd, halve(v, &h), 1), vlen(v, c), 0);
}
#define PV(fn, key, O)                                                                                   \
    ssize_t fn(int fd, const struct iovec *v, int c, O o) {                                              \
        REAL(ssize_t, #fn, int, const struct iovec *, int, O);                                           \
        struct iovec h;                                                                                  \
        XFER(key, fd, real(fd, v, c, o), real(fd, halve(v, &h), 1, o), vlen(v, c), (ssize_t)vlen(v, c)); \
    }
PV(pwritev, "write", off_t)
PV(pwritev64, "write", off64_t) PV(preadv, "read", off_t) PV(preadv64, "read", off64_t)
#define FD1(fn, key)                        \
    int fn(int fd) {                        \
        REAL(int, #fn, int);                \
        BODY(key, fd, 0, real(fd), 0, int); \
    }
    FD1(fsync, "fsync") FD1(fdatasync, "fsync") FD1(syncfs, "fsync") int close(int fd) {
    REAL(int, "close", int);
    int m = hit("close", fd, 0);
    int r = real(fd); /* always closes, as Linux does */
    if (m == KILLAFTER) syscall(SYS_kill, getpid(), SIGKILL);
    if (m >= 0 && m != LIE) {
        errno = S->err;
        return -1;
    }
    return r;
}
#define P1(fn, key)                              \
    int fn(const char *p) {                      \
        REAL(int, #fn, const char *);            \
        BODY(key, AT_FDCWD, p, real(p), 0, int); \
    }
P1(unlink, "unlink") P1(rmdir, "unlink") P1(remove, "unlink") int unlinkat(int d, const char *p, int f) {
    REAL(int, "unlinkat", int, const char *, int);
    BODY("unlink", d, p, real(d, p, f), 0, int);
}
int rename(const char *a, const char *b) {
    REAL(int, "rename", const char *, const char *);
    BODY("rename", AT_FDCWD, b, real(a, b), 0, int);
}
int renameat(int x, const char *a, int y, const char *b) {
    REAL(int, "renameat", int, const char *, int, const char *);
    BODY("rename", y, b, real(x, a, y, b), 0, int);
}
int renameat2(int x, const char *a, int y, const char *b, unsigned f) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    BODY("rename", y, b, real(x, a, y, b, f), 0, int);
}
int link(const char *a, const char *b) {
    REAL(int, "link", const char *, const char *);
    BODY("link", AT_FDCWD, b, real(a, b), 0, int);
}
int linkat(int x, const char *a, int y, const char *b, int f) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    BODY("link", y, b, real(x, a, y, b, f), 0, int);
}
int symlink(const char *a, const char *b) {
    REAL(int, "symlink", const char *, const char *);
    BODY("symlink", AT_FDCWD, b, real(a, b), 0, int);
}
int symlinkat(const char *a, int d, const char *b) {
    REAL(int, "symlinkat", const char *, int, const char *);
    BODY("symlink", d, b, real(a, d, b), 0, int);
}
int mkdir(const char *p, mode_t m_) {
    REAL(int, "mkdir", const char *, mode_t);
    BODY("mkdir", AT_FDCWD, p, real(p, m_), 0, int);
}
int mkdirat(int d, const char *p, mode_t m_) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    BODY("mkdir", d, p, real(d, p, m_), 0, int);
}
int mknodat(int d, const char *p, mode_t m_, dev_t v) {
    REAL(int, "mknodat", int, const char *, mode_t, dev_t);
    BODY("mknod", d, p, real(d, p, m_, v), 0, int);
}
int mkfifoat(int d, const char *p, mode_t m_) {
    REAL(int, "mkfifoat", int, const char *, mode_t);
    BODY("mknod", d, p, real(d, p, m_), 0, int);
}
#define FT(fn, O)                                     \
    int fn(int fd, O o) {                             \
        REAL(int, #fn, int, O);                       \
        BODY("truncate", fd, 0, real(fd, o), 0, int); \
    }
FT(ftruncate, off_t)
FT(ftruncate64, off64_t)
#define FA(fn, O)                                            \
    int fn(int fd, int f, O a, O b) {                        \
        REAL(int, #fn, int, int, O, O);                      \
        BODY("fallocate", fd, 0, real(fd, f, a, b), 0, int); \
    }
    FA(fallocate, off_t) FA(fallocate64, off64_t) int fchmod(int fd, mode_t x) {
    REAL(int, "fchmod", int, mode_t);
    BODY("meta", fd, 0, real(fd, x), 0, int);
}
int fchmodat(int d, const char *p, mode_t x, int f) {
    REAL(int, "fchmodat", int, const char *, mode_t, int);
    BODY("meta", d, p, real(d, p, x, f), 0, int);
}
int fchown(int fd, uid_t u, gid_t g) {
    REAL(int, "fchown", int, uid_t, gid_t);
    BODY("meta", fd, 0, real(fd, u, g), 0, int);
}
int fchownat(int d, const char *p, uid_t u, gid_t g, int f) {
    REAL(int, "fchownat", int, const char *, uid_t, gid_t, int);
    BODY("meta", d, p, real(d, p, u, g, f), 0, int);
}
int lchown(const char *p, uid_t u, gid_t g) {
    REAL(int, "lchown", const char *, uid_t, gid_t);
    BODY("meta", AT_FDCWD, p, real(p, u, g), 0, int);
}
int futimens(int fd, const struct timespec t[2]) {
    REAL(int, "futimens", int, const struct timespec *);
    BODY("meta", fd, 0, real(fd, t), 0, int);
}
int utimensat(int d, const char *p, const struct timespec t[2], int f) {
    REAL(int, "utimensat", int, const char *, const struct timespec *, int);
    BODY("meta", d, p, real(d, p, t, f), 0, int);
}
int fsetxattr(int fd, const char *n, const void *v, size_t s, int f) {
    REAL(int, "fsetxattr", int, const char *, const void *, size_t, int);
    BODY("meta", fd, 0, real(fd, n, v, s, f), 0, int);
}
int lsetxattr(const char *p, const char *n, const void *v, size_t s, int f) {
    REAL(int, "lsetxattr", const char *, const char *, const void *, size_t, int);
    BODY("meta", AT_FDCWD, p, real(p, n, v, s, f), 0, int);
}
int setxattr(const char *p, const char *n, const void *v, size_t s, int f) {
    REAL(int, "setxattr", const char *, const char *, const void *, size_t, int);
    BODY("meta", AT_FDCWD, p, real(p, n, v, s, f), 0, int);
}
int fstatat(int d, const char *p, struct stat *b, int f) {
    REAL(int, "fstatat", int, const char *, struct stat *, int);
    BODY("stat", d, p, real(d, p, b, f), -1, int);
}
int fstatat64(int d, const char *p, struct stat64 *b, int f) {
    REAL(int, "fstatat64", int, const char *, struct stat64 *, int);
    BODY("stat", d, p, real(d, p, b, f), -1, int);
}
int lstat(const char *p, struct stat *b) {
    REAL(int, "lstat", const char *, struct stat *);
    BODY("stat", AT_FDCWD, p, real(p, b), -1, int);
}
int lstat64(const char *p, struct stat64 *b) {
    REAL(int, "lstat64", const char *, struct stat64 *);
    BODY("stat", AT_FDCWD, p, real(p, b), -1, int);
}
int stat(const char *p, struct stat *b) {
    REAL(int, "stat", const char *, struct stat *);
    BODY("stat", AT_FDCWD, p, real(p, b), -1, int);
}
int stat64(const char *p, struct stat64 *b) {
    REAL(int, "stat64", const char *, struct stat64 *);
    BODY("stat", AT_FDCWD, p, real(p, b), -1, int);
}
int fstat(int fd, struct stat *b) {
    REAL(int, "fstat", int, struct stat *);
    BODY("stat", fd, 0, real(fd, b), -1, int);
}
int fstat64(int fd, struct stat64 *b) {
    REAL(int, "fstat64", int, struct stat64 *);
    BODY("stat", fd, 0, real(fd, b), -1, int);
}
int statx(int d, const char *p, int f, unsigned k, struct statx *b) {
    REAL(int, "statx", int, const char *, int, unsigned, struct statx *);
    BODY("stat", d, p, real(d, p, f, k, b), -1, int);
}
ssize_t readlinkat(int d, const char *p, char *b, size_t n) {
    REAL(ssize_t, "readlinkat", int, const char *, char *, size_t);
    BODY("readlink", d, p, real(d, p, b, n), -1, ssize_t);
}
int connect(int fd, const struct sockaddr *a, socklen_t l) {
    REAL(int, "connect", int, const struct sockaddr *, socklen_t);
    BODY("connect", fd, 0, real(fd, a, l), 0, int);
}
ssize_t send(int fd, const void *b, size_t n, int f) {
    REAL(ssize_t, "send", int, const void *, size_t, int);
    XFER("send", fd, real(fd, b, n, f), real(fd, b, n / 2, f), n, (ssize_t)n);
}
ssize_t recv(int fd, void *b, size_t n, int f) {
    REAL(ssize_t, "recv", int, void *, size_t, int);
    XFER("recv", fd, real(fd, b, n, f), real(fd, b, n / 2, f), n, 0);
}
ssize_t sendmsg(int fd, const struct msghdr *h, int f) {
    REAL(ssize_t, "sendmsg", int, const struct msghdr *, int);
    BODY("send", fd, 0, real(fd, h, f), -1, ssize_t);
}
ssize_t recvmsg(int fd, struct msghdr *h, int f) {
    REAL(ssize_t, "recvmsg", int, struct msghdr *, int);
    BODY("recv", fd, 0, real(fd, h, f), 0, ssize_t);
}
ssize_t copy_file_range(int i, off64_t *a, int o, off64_t *b, size_t n, unsigned f) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    XFER("write", o, real(i, a, o, b, n, f), real(i, a, o, b, n / 2, f), n, (ssize_t)n);
}
void *mmap(void *a, size_t n, int pr, int fl, int fd, off_t o) {
    if (!(fl & MAP_ANONYMOUS)) {
        int m = hit("mmap", fd, 0);
        if (m >= 0) {
            errno = S->err;
            return MAP_FAILED;
        }
    }
    return (void *)syscall(SYS_mmap, a, n, pr, fl, fd, o);
}

#ifdef WITH_MALLOC /* only on request: these would hide a sanitizer's allocator */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
#define OOM                                                                                            \
    if (S && S->armed && !busy && strstr(S->calls, ",malloc,") && hit("malloc", AT_FDCWD, "/") >= 0) { \
        errno = ENOMEM;                                                                                \
        return 0;                                                                                      \
    }
void *malloc(size_t n) { OOM return __libc_malloc(n); }
void *calloc(size_t a, size_t b) { OOM return __libc_calloc(a, b); }
void *realloc(void *p, size_t n) { OOM return __libc_realloc(p, n); }
#endif
