/* A disk for a loop device whose every write, discard and flush is kept in order, so that the disk can be built again as it was at
 * any moment: a FUSE directory with the file "disk", and a file "mark" into which promises are written ("revision 3 is complete").
 *
 *     crash_disk IMAGE LOG MOUNT-POINT        driven by crash_disk.py
 *
 * A record of the log: kind (W write, D discard, F flush, M mark) and three zeros, 32 bits length of the data, 64 bits offset, 64 bits
 * how far it reaches, little endian; then the data of W and M.
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int image, log_file;
static off_t disk_size;

static int is_disk(const char *path) { return strcmp(path, "/disk") == 0; }
static int is_mark(const char *path) { return strcmp(path, "/mark") == 0; }

static int note(char kind, uint64_t offset, uint64_t span, const char *data, uint32_t length) {
    struct __attribute__((packed)) {
        char kind[4];
        uint32_t length;
        uint64_t offset, span;
    } record = {{kind}, length, offset, span};
    if (write(log_file, &record, sizeof record) != sizeof record) return -EIO;
    if (length > 0 && write(log_file, data, length) != (ssize_t)length) return -EIO;
    return 0;
}

static int do_getattr(const char *path, struct stat *out, struct fuse_file_info *info) {
    (void)info;
    memset(out, 0, sizeof *out);
    if (strcmp(path, "/") == 0) {
        out->st_mode = S_IFDIR | 0755;
        out->st_nlink = 2;
    } else if (is_disk(path)) {
        out->st_mode = S_IFREG | 0600;
        out->st_nlink = 1;
        out->st_size = disk_size;
        out->st_blocks = disk_size / 512;
    } else if (is_mark(path)) {
        out->st_mode = S_IFREG | 0666;
        out->st_nlink = 1;
    } else {
        return -ENOENT;
    }
    return 0;
}

static int do_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *info,
                      enum fuse_readdir_flags flags) {
    (void)path, (void)offset, (void)info, (void)flags;
    fill(buffer, "disk", NULL, 0, 0);
    fill(buffer, "mark", NULL, 0, 0);
    return 0;
}

static int do_open(const char *path, struct fuse_file_info *info) {
    info->direct_io = is_mark(path);
    return is_disk(path) || is_mark(path) ? 0 : -ENOENT;
}

static int do_truncate(const char *path, off_t size, struct fuse_file_info *info) {
    (void)size, (void)info;
    return is_mark(path) ? 0 : -EPERM;
}

static int do_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)info;
    if (is_mark(path)) return 0;
    ssize_t got = pread(image, buffer, size, offset);
    return got < 0 ? -errno : (int)got;
}

static int do_write(const char *path, const char *data, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)info;
    if (is_mark(path)) return note('M', 0, 0, data, (uint32_t)size) == 0 ? (int)size : -EIO;
    if (offset + (off_t)size > disk_size) return -ENOSPC;
    if (note('W', (uint64_t)offset, size, data, (uint32_t)size) != 0) return -EIO;
    ssize_t put = pwrite(image, data, size, offset);
    return put < 0 ? -errno : (int)put;
}

static int do_fsync(const char *path, int only_data, struct fuse_file_info *info) {
    (void)only_data, (void)info;
    return is_mark(path) ? 0 : note('F', 0, 0, NULL, 0);
}

static int do_fallocate(const char *path, int mode, off_t offset, off_t length, struct fuse_file_info *info) {
    (void)info;
    if (!is_disk(path)) return -EOPNOTSUPP;
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0) return -EOPNOTSUPP;
    if (note('D', (uint64_t)offset, (uint64_t)length, NULL, 0) != 0) return -EIO;
    return fallocate(image, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) == 0 ? 0 : -errno;
}

static const struct fuse_operations operations = {
    .getattr = do_getattr,
    .readdir = do_readdir,
    .open = do_open,
    .truncate = do_truncate,
    .read = do_read,
    .write = do_write,
    .fsync = do_fsync,
    .fallocate = do_fallocate,
};

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: crash_disk IMAGE LOG MOUNT-POINT\n");
        return 2;
    }
    image = open(argv[1], O_RDWR | O_CLOEXEC);
    log_file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct stat status;
    if (image < 0 || log_file < 0 || fstat(image, &status) != 0) {
        perror("crash_disk");
        return 1;
    }
    disk_size = status.st_size;
    char *arguments[] = {argv[0], "-f", "-s", "-o", "allow_other", argv[3], NULL};
    return fuse_main(6, arguments, &operations, NULL);
}
