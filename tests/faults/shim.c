/* Stands between a program and libc: counts the calls that change something (and those that read), and at one of them ends the process, or fails.

   LD_PRELOADed into the zygote of worker.py, or into any program. FAULTS_SHM names a file that holds a struct control, shared by all processes
   that inherit it. A program that it exec()s with a scrubbed environment runs without it, as the installer's hooks and services do.
   Calls are made by syscall(), so that nothing is counted twice.
   A sleep of 0.2 s and more is not slept: the monotonic clock is put forward instead (shorter ones wait for other processes). */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CHANGES = 1, READS = 2, CHANGES_NAMES = 3 };
enum { COUNT, KILL, KILL_GROUP, FAIL, FAIL_LASTING, FAIL_ALL, LOST, SHORT };  /* LOST: the call is made, and fails all the same; SHORT: half of it is */
#define MOST 16384
#define SYNCS 32

struct call { char kind[16]; int32_t class, pid; char what[40]; };
struct control {                      /* shim.py has the same offsets */
    volatile int32_t armed;           /* 0: nothing is counted */
    volatile int32_t mode;
    volatile int32_t target;          /* the number of the call, from 1 */
    volatile int32_t error;
    volatile int32_t count;           /* of calls so far */
    volatile int32_t hit;             /* how many were killed, or failed */
    volatile int32_t zygote;          /* the process that is never counted */
    volatile int32_t again;           /* second syncs of a file whose first one failed, and that was not written since */
    volatile int64_t forward;         /* nanoseconds that the clock was put forward */
    volatile int32_t syncs;
    volatile int32_t roomy;           /* whoever asks how much room there is, is told: enough */
    volatile struct { uint64_t dev, ino; } failed[SYNCS];
    char kind[16];                    /* of the call that was hit first, */
    char what[40];                    /* and the end of the path that it named */
    struct call calls[MOST];
};
static struct control *control;
static __thread int32_t interrupted;  /* the last call here was: the next of its kind is made */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_SHM");
    if (!path) return;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *found = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (found != MAP_FAILED) control = found;
}

static void name(char *into, const char *what) {
    size_t length = what ? strlen(what) : 0;
    strncpy(into, length < 40 ? (what ? what : "") : what + length - 39, 39);
}

/* 0: make the call. Else the errno that it fails with. */
static int passes(const char *kind, int class, const char *what) {
    if (!control || !control->armed) return 0;
    int pid = syscall(SYS_getpid);
    if (pid == control->zygote) return 0;
    int number = __sync_add_and_fetch(&control->count, 1);
    if (control->mode == COUNT) {
        if (number <= MOST) {
            struct call *call = &control->calls[number - 1];
            strncpy(call->kind, kind, sizeof call->kind - 1);
            call->class = class == CHANGES_NAMES ? CHANGES : class;
            call->pid = pid;
            name(call->what, what);
        }
        return 0;
    }
    if (control->mode == SHORT || (control->mode == LOST && class != CHANGES_NAMES)) return 0;
    if (number == control->target) {
        __sync_add_and_fetch(&control->hit, 1);
        strncpy(control->kind, kind, sizeof control->kind - 1);
        name(control->what, what);
        if (control->mode == KILL_GROUP) kill(0, SIGKILL);
        if (control->mode <= KILL_GROUP) { syscall(SYS_kill, pid, SIGKILL); for (;;) pause(); }
    } else if (number < control->target || control->mode == KILL || control->mode == KILL_GROUP || control->mode == FAIL || control->mode == LOST) {
        return 0;
    } else if (control->mode == FAIL_LASTING && strcmp(kind, control->kind)) {
        return 0;
    } else if (control->mode == FAIL_ALL && (class == READS || strstr(kind, "fork") || !strcmp(kind, "execve") || !strncmp(kind, "kill", 4))) {
        return 0;
    } else {
        __sync_add_and_fetch(&control->hit, 1);
    }
    if (control->error == EINTR && control->mode != FAIL) {  /* each call is interrupted once: programs try again */
        interrupted = !interrupted;
        return interrupted ? EINTR : 0;
    }
    return control->error;
}

static int on_disk(int fd) {  /* a regular file or a directory, not of /proc */
    struct stat facts;
    struct statfs system;
    if (syscall(SYS_fstat, fd, &facts) != 0 || !(S_ISREG(facts.st_mode) || S_ISDIR(facts.st_mode))) return 0;
    return syscall(SYS_fstatfs, fd, &system) == 0 && system.f_type != 0x9fa0;
}

static int in_proc(const char *path) { return path && !strncmp(path, "/proc", 5); }

static void written(int fd) {
    if (!control || !control->syncs) return;
    struct stat facts;
    if (syscall(SYS_fstat, fd, &facts) != 0) return;
    for (int i = 0; i < control->syncs; i++)
        if (control->failed[i].ino == facts.st_ino && control->failed[i].dev == facts.st_dev) control->failed[i].ino = 0;
}

static int sync_passes(const char *kind, int fd) {
    int error = passes(kind, CHANGES, NULL);
    struct stat facts;
    if (!control || !control->armed || (!error && !control->syncs)) return error;
    if (syscall(SYS_fstat, fd, &facts) != 0 || !S_ISREG(facts.st_mode)) return error;
    for (int i = 0; i < control->syncs; i++)
        if (control->failed[i].ino == facts.st_ino && control->failed[i].dev == facts.st_dev) control->again++;
    if (error && error != EINTR && control->syncs < SYNCS) {
        control->failed[control->syncs].dev = facts.st_dev;
        control->failed[control->syncs++].ino = facts.st_ino;
    }
    return error;
}

#define FAILS(kind, class, what) do { int _e = passes(kind, class, what); if (_e) { errno = _e; return -1; } } while (0)

/* A call that changes what a directory holds: when its reply is lost, it was made. */
#define NAMES(kind, what, call) do { \
    int _e = passes(kind, CHANGES_NAMES, what); \
    if (_e && control->mode != LOST) { errno = _e; return -1; } \
    long _done = call; \
    if (_e) { errno = _e; return -1; } \
    return _done; \
} while (0)

static size_t part(size_t size) {
    if (!control || !control->armed || control->mode != SHORT || size < 2 || (int32_t)syscall(SYS_getpid) == control->zygote) return size;
    __sync_add_and_fetch(&control->hit, 1);
    return size / 2;
}

#define MODE(flags) int mode = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, int); va_end(list); }
#define CHANGING(flags) ((flags) & (O_CREAT | O_TRUNC) || ((flags) & __O_TMPFILE) == __O_TMPFILE)
static int opened(int at, const char *path, int flags, int mode) {
    if (!in_proc(path) && strcmp(path, "/dev/null")) FAILS("open", CHANGING(flags) ? CHANGES : READS, path);
    return syscall(SYS_openat, at, path, flags, mode);
}
int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int close(int fd) {
    int error = control && control->armed && on_disk(fd) ? passes("close", READS, NULL) : 0;
    int done = syscall(SYS_close, fd);  /* Linux closes it in any case */
    if (error) { errno = error; return -1; }
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { FAILS("write", CHANGES, NULL); written(fd); return syscall(SYS_write, fd, data, on_disk(fd) ? part(size) : size); }
ssize_t writev(int fd, const struct iovec *data, int count) { FAILS("writev", CHANGES, NULL); written(fd); return syscall(SYS_writev, fd, data, count); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    FAILS("pwrite64", CHANGES, NULL); written(fd); return syscall(SYS_pwrite64, fd, data, part(size), at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return pwrite(fd, data, size, at); }
ssize_t sendfile(int to, int from, off_t *at, size_t size) { FAILS("sendfile", CHANGES, NULL); written(to); return syscall(SYS_sendfile, to, from, at, part(size)); }
ssize_t sendfile64(int to, int from, off_t *at, size_t size) { return sendfile(to, from, at, size); }
ssize_t copy_file_range(int from, off_t *at, int to, off_t *start, size_t size, unsigned flags) {
    FAILS("copy_file_range", CHANGES, NULL); written(to); return syscall(SYS_copy_file_range, from, at, to, start, part(size), flags);
}
ssize_t read(int fd, void *data, size_t size) {
    if (control && control->armed && on_disk(fd)) FAILS("read", READS, NULL);
    return syscall(SYS_read, fd, data, on_disk(fd) ? part(size) : size);
}
ssize_t readv(int fd, const struct iovec *data, int count) {
    if (control && control->armed && on_disk(fd)) FAILS("readv", READS, NULL);
    if (count == 1) return syscall(SYS_read, fd, data->iov_base, part(data->iov_len));
    return syscall(SYS_readv, fd, data, count);
}
ssize_t preadv2(int fd, const struct iovec *data, int count, off_t at, int flags) {
    if (control && control->armed && on_disk(fd)) FAILS("preadv", READS, NULL);
    if (count == 1) return syscall(SYS_pread64, fd, data->iov_base, part(data->iov_len), at);
    return syscall(SYS_preadv2, fd, data, count, at, 0, flags);
}
ssize_t preadv64v2(int fd, const struct iovec *data, int count, off_t at, int flags) { return preadv2(fd, data, count, at, flags); }
ssize_t pwritev2(int fd, const struct iovec *data, int count, off_t at, int flags) {
    FAILS("pwritev", CHANGES, NULL); written(fd); return syscall(SYS_pwritev2, fd, data, count, at, 0, flags);
}
ssize_t pwritev64v2(int fd, const struct iovec *data, int count, off_t at, int flags) { return pwritev2(fd, data, count, at, flags); }
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    if (control && control->armed && on_disk(fd)) FAILS("pread64", READS, NULL);
    return syscall(SYS_pread64, fd, data, part(size), at);
}
ssize_t pread64(int fd, void *data, size_t size, off_t at) { return pread(fd, data, size, at); }

static int renamed(const char *kind, int at, const char *from, int to_at, const char *to, unsigned flags) {
    NAMES(kind, to, syscall(SYS_renameat2, at, from, to_at, to, flags));
}
int rename(const char *from, const char *to) { return renamed("rename", AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int at, const char *from, int to_at, const char *to) { return renamed("renameat", at, from, to_at, to, 0); }
int renameat2(int at, const char *from, int to_at, const char *to, unsigned flags) { return renamed("renameat2", at, from, to_at, to, flags); }
int link(const char *from, const char *to) { NAMES("link", to, syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0)); }
int linkat(int at, const char *from, int to_at, const char *to, int flags) {
    NAMES("linkat", to, syscall(SYS_linkat, at, from, to_at, to, flags));
}
int symlink(const char *target, const char *path) { NAMES("symlink", path, syscall(SYS_symlinkat, target, AT_FDCWD, path)); }
int symlinkat(const char *target, int at, const char *path) { NAMES("symlinkat", path, syscall(SYS_symlinkat, target, at, path)); }
int unlink(const char *path) { NAMES("unlink", path, syscall(SYS_unlinkat, AT_FDCWD, path, 0)); }
int unlinkat(int at, const char *path, int flags) { NAMES("unlinkat", path, syscall(SYS_unlinkat, at, path, flags)); }
int rmdir(const char *path) { NAMES("rmdir", path, syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR)); }
int mkdir(const char *path, mode_t mode) { NAMES("mkdir", path, syscall(SYS_mkdirat, AT_FDCWD, path, mode)); }
int mkdirat(int at, const char *path, mode_t mode) { NAMES("mkdirat", path, syscall(SYS_mkdirat, at, path, mode)); }
int mknodat(int at, const char *path, mode_t mode, dev_t dev) { NAMES("mknodat", path, syscall(SYS_mknodat, at, path, mode, dev)); }

int fsync(int fd) { int error = sync_passes("fsync", fd); if (error) { errno = error; return -1; } return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { int error = sync_passes("fdatasync", fd); if (error) { errno = error; return -1; } return syscall(SYS_fdatasync, fd); }
int syncfs(int fd) { FAILS("syncfs", CHANGES, NULL); return syscall(SYS_syncfs, fd); }
int ftruncate(int fd, off_t size) { FAILS("ftruncate", CHANGES, NULL); written(fd); return syscall(SYS_ftruncate, fd, size); }
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }
int truncate(const char *path, off_t size) { FAILS("truncate", CHANGES, path); return syscall(SYS_truncate, path, size); }
int truncate64(const char *path, off_t size) { return truncate(path, size); }
int posix_fallocate(int fd, off_t at, off_t size) { int error = passes("fallocate", CHANGES, NULL); return error ? error : syscall(SYS_fallocate, fd, 0, at, size) ? errno : 0; }
int posix_fallocate64(int fd, off_t at, off_t size) { return posix_fallocate(fd, at, size); }
int chmod(const char *path, mode_t mode) { FAILS("chmod", CHANGES, path); return syscall(SYS_fchmodat, AT_FDCWD, path, mode); }
int fchmod(int fd, mode_t mode) { FAILS("fchmod", CHANGES, NULL); return syscall(SYS_fchmod, fd, mode); }
int fchmodat(int at, const char *path, mode_t mode, int flags) {
    FAILS("fchmodat", CHANGES, path);
    if (flags) { errno = ENOTSUP; return -1; }
    return syscall(SYS_fchmodat, at, path, mode);
}
int chown(const char *path, uid_t user, gid_t group) { FAILS("chown", CHANGES, path); return syscall(SYS_fchownat, AT_FDCWD, path, user, group, 0); }
int lchown(const char *path, uid_t user, gid_t group) { FAILS("lchown", CHANGES, path); return syscall(SYS_fchownat, AT_FDCWD, path, user, group, AT_SYMLINK_NOFOLLOW); }
int fchown(int fd, uid_t user, gid_t group) { FAILS("fchown", CHANGES, NULL); return syscall(SYS_fchown, fd, user, group); }
int fchownat(int at, const char *path, uid_t user, gid_t group, int flags) { FAILS("fchownat", CHANGES, path); return syscall(SYS_fchownat, at, path, user, group, flags); }
int utimensat(int at, const char *path, const struct timespec times[2], int flags) { FAILS("utimensat", CHANGES, path); return syscall(SYS_utimensat, at, path, times, flags); }
int futimens(int fd, const struct timespec times[2]) { FAILS("utimensat", CHANGES, NULL); return syscall(SYS_utimensat, fd, NULL, times, 0); }
int flock(int fd, int what) { FAILS("flock", CHANGES, NULL); return syscall(SYS_flock, fd, what); }
int ioctl(int fd, unsigned long request, ...) {
    va_list list; va_start(list, request); void *argument = va_arg(list, void *); va_end(list);
    if (request == 0x40049409) FAILS("ioctl", CHANGES, "FICLONE");
    return syscall(SYS_ioctl, fd, request, argument);
}

pid_t fork(void) {
    static pid_t (*real)(void);
    if (!real) real = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
    FAILS("fork", CHANGES, NULL);
    return real();
}
#ifdef __x86_64__
/* It returns twice into its caller, so no frame of ours may stand in between: counted first, then jumped to. */
__attribute__((used)) int faults_before_vfork(void) { return passes("vfork", CHANGES, NULL); }
__attribute__((used)) int faults_no_vfork(int error) { errno = error; return -1; }
__attribute__((used)) void *faults_real_vfork;
__asm__(".text\n.globl vfork\n.type vfork, @function\nvfork:\n\tsubq $8, %rsp\n\tcall faults_before_vfork@PLT\n\taddq $8, %rsp\n"
        "\ttestl %eax, %eax\n\tjne 1f\n\tmovq faults_real_vfork@GOTPCREL(%rip), %rax\n\tjmp *(%rax)\n"
        "1:\tmovl %eax, %edi\n\tjmp faults_no_vfork@PLT\n");
__attribute__((constructor)) static void find_vfork(void) { faults_real_vfork = dlsym(RTLD_NEXT, "vfork"); }
#else
pid_t vfork(void) { return fork(); }
#endif
int execve(const char *path, char *const words[], char *const environment[]) { FAILS("execve", CHANGES, path); return syscall(SYS_execve, path, words, environment); }
int execv(const char *path, char *const words[]) { return execve(path, words, environ); }
int kill(pid_t pid, int number) { FAILS("kill", CHANGES, NULL); return syscall(SYS_kill, pid, number); }
int killpg(pid_t group, int number) { FAILS("killpg", CHANGES, NULL); return syscall(SYS_kill, -group, number); }

int stat(const char *path, struct stat *facts) { if (!in_proc(path)) FAILS("stat", READS, path); return syscall(SYS_newfstatat, AT_FDCWD, path, facts, 0); }
int stat64(const char *path, struct stat64 *facts) { return stat(path, (struct stat *)facts); }
int lstat(const char *path, struct stat *facts) { if (!in_proc(path)) FAILS("lstat", READS, path); return syscall(SYS_newfstatat, AT_FDCWD, path, facts, AT_SYMLINK_NOFOLLOW); }
int lstat64(const char *path, struct stat64 *facts) { return lstat(path, (struct stat *)facts); }
int fstatat(int at, const char *path, struct stat *facts, int flags) { if (!in_proc(path)) FAILS("fstatat", READS, path); return syscall(SYS_newfstatat, at, path, facts, flags); }
int fstatat64(int at, const char *path, struct stat64 *facts, int flags) { return fstatat(at, path, (struct stat *)facts, flags); }
int access(const char *path, int mode) { if (!in_proc(path)) FAILS("access", READS, path); return syscall(SYS_faccessat, AT_FDCWD, path, mode); }
int faccessat(int at, const char *path, int mode, int flags) { if (!in_proc(path)) FAILS("faccessat", READS, path); return syscall(SYS_faccessat, at, path, mode); }
ssize_t readlink(const char *path, char *data, size_t size) { if (!in_proc(path)) FAILS("readlink", READS, path); return syscall(SYS_readlinkat, AT_FDCWD, path, data, size); }
ssize_t readlinkat(int at, const char *path, char *data, size_t size) { if (!in_proc(path)) FAILS("readlinkat", READS, path); return syscall(SYS_readlinkat, at, path, data, size); }
struct dirent64 *readdir64(DIR *directory) {
    static struct dirent64 *(*real)(DIR *);
    if (!real) real = (struct dirent64 *(*)(DIR *))dlsym(RTLD_NEXT, "readdir64");
    if (control && control->armed && on_disk(dirfd(directory))) { int error = passes("readdir", READS, NULL); if (error) { errno = error; return NULL; } }
    return real(directory);
}

static int roomy(struct statvfs64 *facts) {
    if (control && control->armed && control->roomy) { facts->f_bavail = facts->f_bfree = 1 << 20; facts->f_favail = facts->f_ffree = 1 << 20; }
    return 0;
}
int fstatvfs64(int fd, struct statvfs64 *facts) {
    static int (*real)(int, struct statvfs64 *);
    if (!real) real = (int (*)(int, struct statvfs64 *))dlsym(RTLD_NEXT, "fstatvfs64");
    return real(fd, facts) ? -1 : roomy(facts);
}
int statvfs64(const char *path, struct statvfs64 *facts) {
    static int (*real)(const char *, struct statvfs64 *);
    if (!real) real = (int (*)(const char *, struct statvfs64 *))dlsym(RTLD_NEXT, "statvfs64");
    return real(path, facts) ? -1 : roomy(facts);
}

static void ahead(struct timespec *now) {
    long nanoseconds = now->tv_nsec + control->forward % 1000000000;
    now->tv_sec += control->forward / 1000000000 + nanoseconds / 1000000000;
    now->tv_nsec = nanoseconds % 1000000000;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, now);
    if (done == 0 && clock == CLOCK_MONOTONIC && control && control->forward) ahead(now);
    return done;
}
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *left) {
    struct timespec wanted = *time, now;
    if (control && control->armed && clock == CLOCK_MONOTONIC) {
        if (flags & TIMER_ABSTIME) {
            clock_gettime(clock, &now);
            int64_t rest = (int64_t)(time->tv_sec - now.tv_sec) * 1000000000 + (time->tv_nsec - now.tv_nsec);
            if (rest >= 150000000) { __sync_add_and_fetch(&control->forward, rest); return 0; }
            wanted.tv_sec = 0;
            wanted.tv_nsec = rest > 0 ? rest : 0;
        }
        return syscall(SYS_clock_nanosleep, clock, 0, &wanted, left) ? errno : 0;
    }
    return syscall(SYS_clock_nanosleep, clock, flags, time, left) ? errno : 0;
}
