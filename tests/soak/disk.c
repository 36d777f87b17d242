/* A disk that is watched, and that can be full: loaded into a process (LD_PRELOAD), it stands between it and the kernel.
 *
 * DISK_ROOT     only files below this folder count
 * DISK_LOG      where every change is written down, in order, once it happened; unset: nowhere
 * DISK_SWITCH   a file of three numbers shared by all processes: changes so far; from which to which one the disk is full
 *
 * What is said on standard output goes into the log too, so it is known what had been promised at each moment.
 * Left out: memory maps (SQLite keeps only its lock table in one) and what the kernel copies by itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct event {
    char kind; /* Create Write Truncate Sync Folder-sync Rename Link Unlink Mkdir Output */
    char unused[7];
    uint64_t file, offset, name_bytes, data_bytes;
};

static uint64_t *numbers; /* changes, full from, full until */
static char root[PATH_MAX], journal[PATH_MAX];

__attribute__((constructor)) static void begin(void) {
    const char *where = getenv("DISK_ROOT"), *log = getenv("DISK_LOG"), *shared = getenv("DISK_SWITCH");
    snprintf(root, sizeof root, "%s", where ? where : "/nowhere");
    snprintf(journal, sizeof journal, "%s", log ? log : "");
    if (shared) {
        int fd = syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC);
        if (fd < 0) return;
        void *map = mmap(NULL, 24, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) numbers = map;
        syscall(SYS_close, fd);
    }
}

static int below(const char *path) {
    size_t n = strlen(root);
    return strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* The path of a name that may be relative to a folder; its last part need not exist. */
static int full_path(int folder, const char *name, char *out) {
    if (name[0] == '/') return snprintf(out, PATH_MAX, "%s", name) < PATH_MAX && below(out);
    char link[64], base[PATH_MAX];
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t n = readlink(link, base, sizeof base - 1);
    if (n <= 0) return 0;
    base[n] = 0;
    while (strncmp(name, "./", 2) == 0) name += 2;
    return snprintf(out, PATH_MAX, "%s/%s", base, name) < PATH_MAX && below(out);
}

static int fd_path(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n <= 0) return 0;
    out[n] = 0;
    return below(out);
}

static uint64_t inode(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

static void note(char kind, uint64_t file, uint64_t offset, const char *name, const void *data, size_t bytes) {
    if (!journal[0]) return;
    int before = errno;
    struct event event = {.kind = kind, .file = file, .offset = offset, .name_bytes = strlen(name), .data_bytes = bytes};
    struct iovec parts[3] = {{&event, sizeof event}, {(void *)name, strlen(name)}, {(void *)data, bytes}};
    int fd = syscall(SYS_openat, AT_FDCWD, journal, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    syscall(SYS_writev, fd, parts, 3);
    syscall(SYS_close, fd);
    errno = before;
}

/* Counts a change; returns 1 with errno set when the disk is full for it. */
static int full(void) {
    if (!numbers) return 0;
    uint64_t number = __sync_fetch_and_add(&numbers[0], 1);
    if (number < numbers[1] || number >= numbers[2]) return 0;
    errno = ENOSPC;
    return 1;
}

static int opened(int folder, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    int ours = (flags & (O_CREAT | O_TRUNC)) && (flags & O_TMPFILE) != O_TMPFILE && full_path(folder, name, path);
    int made = ours && (flags & O_CREAT) && faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
    if (made && full()) return -1;
    int fd = syscall(SYS_openat, folder, name, flags, mode);
    if (fd >= 0 && made) note('C', inode(fd), 0, path, "", 0);
    else if (fd >= 0 && ours && (flags & O_TRUNC)) note('T', inode(fd), 0, path, "", 0);
    return fd;
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags) return opened(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags) return opened(at, name, flags, mode); }
int creat(const char *name, mode_t mode) { return opened(AT_FDCWD, name, O_CREAT | O_TRUNC | O_WRONLY, mode); }
int creat64(const char *name, mode_t mode) { return opened(AT_FDCWD, name, O_CREAT | O_TRUNC | O_WRONLY, mode); }

static ssize_t put(int fd, const void *data, size_t bytes, off_t offset, int at) {
    char path[PATH_MAX];
    if (fd == 1) {
        ssize_t said = syscall(SYS_write, fd, data, bytes);
        if (said > 0) note('O', 0, 0, "", data, said);
        return said;
    }
    int ours = (journal[0] || numbers) && fd_path(fd, path);
    if (ours && full()) return -1;
    if (!at) offset = ours ? lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR) : 0;
    ssize_t done = at ? syscall(SYS_pwrite64, fd, data, bytes, offset) : syscall(SYS_write, fd, data, bytes);
    if (ours && done > 0) note('W', inode(fd), offset, path, data, done);
    return done;
}

ssize_t write(int fd, const void *data, size_t bytes) { return put(fd, data, bytes, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) { return put(fd, data, bytes, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset) { return put(fd, data, bytes, offset, 1); }

static int cut(int fd, off_t size) {
    char path[PATH_MAX];
    int done = syscall(SYS_ftruncate, fd, size);
    if (done == 0 && fd_path(fd, path)) note('T', inode(fd), size, path, "", 0);
    return done;
}
int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off_t size) { return cut(fd, size); }

static int synced(int fd, long call) {
    char path[PATH_MAX];
    struct stat status;
    int done = syscall(call, fd);
    if (done == 0 && fd_path(fd, path) && fstat(fd, &status) == 0)
        note(S_ISDIR(status.st_mode) ? 'F' : 'S', status.st_ino, 0, path, "", 0);
    return done;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int moved(char kind, int from_at, const char *from, int to_at, const char *to, int flags) {
    char a[PATH_MAX], b[PATH_MAX];
    int ours = full_path(from_at, from, a) && full_path(to_at, to, b);
    if (ours && full()) return -1;
    int done = kind == 'R' ? syscall(SYS_renameat2, from_at, from, to_at, to, flags)
                           : syscall(SYS_linkat, from_at, from, to_at, to, flags);
    if (ours && done == 0) note(kind, 0, 0, a, b, strlen(b));
    return done;
}
int rename(const char *from, const char *to) { return moved('R', AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return moved('R', a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return moved('R', a, from, b, to, flags); }
int link(const char *from, const char *to) { return moved('L', AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return moved('L', a, from, b, to, flags); }

static int gone(int at, const char *name, int flags) {
    char path[PATH_MAX];
    int ours = full_path(at, name, path);
    int done = syscall(SYS_unlinkat, at, name, flags);
    if (ours && done == 0) note('U', 0, 0, path, "", 0);
    return done;
}
int unlink(const char *name) { return gone(AT_FDCWD, name, 0); }
int unlinkat(int at, const char *name, int flags) { return gone(at, name, flags); }
int rmdir(const char *name) { return gone(AT_FDCWD, name, AT_REMOVEDIR); }

static int folder(int at, const char *name, mode_t mode) {
    char path[PATH_MAX];
    int ours = full_path(at, name, path);
    if (ours && full()) return -1;
    int done = syscall(SYS_mkdirat, at, name, mode);
    if (ours && done == 0) note('M', 0, 0, path, "", 0);
    return done;
}
int mkdir(const char *name, mode_t mode) { return folder(AT_FDCWD, name, mode); }
int mkdirat(int at, const char *name, mode_t mode) { return folder(at, name, mode); }
