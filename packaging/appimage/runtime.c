// What stands before the file system in an AppImage (type 2): shows the image to the system by
// FUSE, runs AppRun from it, and takes it away when AppRun has ended. Where there is no FUSE, the
// image is extracted to a temporary folder for as long as AppRun runs. Linked statically.
#define _GNU_SOURCE
#include <squashfuse/config.h>
// clang-format off
#include <squashfuse/ll.h> // needs the one above
#include <squashfuse/squashfuse.h>
#include <squashfuse/traverse.h>
// clang-format on

#include <elf.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kCannotRun = 127 }; // as shells say it

static int trouble(const char* what) {
    perror(what);
    return kCannotRun;
}

// Where the image begins: behind the program's table of sections, which ends its file.
static size_t image_offset(const char* self) {
    Elf64_Ehdr header;
    const int file = open(self, O_RDONLY | O_CLOEXEC);
    const ssize_t got = file < 0 ? -1 : pread(file, &header, sizeof header, 0);
    if (file >= 0) {
        close(file);
    }
    return got == sizeof header ? header.e_shoff + (size_t)header.e_shentsize * header.e_shnum : 0;
}

static bool temporary_folder(char path[PATH_MAX], const char* kind) {
    const char* where = getenv("TMPDIR");
    snprintf(path, PATH_MAX, "%s/.%s-XXXXXX", where != NULL && *where != 0 ? where : "/tmp", kind);
    return mkdtemp(path) != NULL;
}

// --- extracting ---------------------------------------------------------------------------------

static bool write_file(sqfs* image, sqfs_inode* node, const char* path) {
    static char block[1 << 17];
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, node->base.mode & 0777);
    if (file < 0) {
        return false;
    }
    const uint64_t size = node->xtra.reg.file_size;
    bool good = true;
    for (uint64_t done = 0; good && done < size;) {
        sqfs_off_t length = sizeof block;
        good = sqfs_read_range(image, node, (sqfs_off_t)done, &length, block) == SQFS_OK &&
               length > 0 && write(file, block, (size_t)length) == length;
        done += (uint64_t)length;
    }
    return close(file) == 0 && good;
}

static bool write_link(sqfs* image, sqfs_inode* node, const char* path) {
    char target[PATH_MAX];
    size_t length = sizeof target;
    if (sqfs_readlink(image, node, target, &length) != SQFS_OK) {
        return false;
    }
    unlink(path);
    return symlink(target, path) == 0;
}

static bool extract(const char* self, size_t offset, const char* folder) {
    sqfs image;
    if (sqfs_open_image(&image, self, offset) != SQFS_OK) {
        return false;
    }
    sqfs_traverse walk;
    sqfs_err error = sqfs_traverse_open(&walk, &image, sqfs_inode_root(&image));
    bool good = error == SQFS_OK && (mkdir(folder, 0755) == 0 || access(folder, W_OK) == 0);
    while (good && sqfs_traverse_next(&walk, &error)) {
        if (walk.dir_end) {
            continue;
        }
        char path[PATH_MAX];
        sqfs_inode node;
        good = (size_t)snprintf(path, sizeof path, "%s/%s", folder, walk.path) < sizeof path &&
               sqfs_inode_get(&image, &node, sqfs_dentry_inode(&walk.entry)) == SQFS_OK;
        if (good && S_ISDIR(node.base.mode)) {
            good = mkdir(path, 0755) == 0 || access(path, W_OK) == 0;
        } else if (good && S_ISLNK(node.base.mode)) {
            good = write_link(&image, &node, path);
        } else if (good && S_ISREG(node.base.mode)) {
            good = write_file(&image, &node, path);
        }
    }
    return good && error == SQFS_OK;
}

static int remove_entry(const char* path, const struct stat* info, int kind, struct FTW* where) {
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

// --- running ------------------------------------------------------------------------------------

static int run(const char* folder, const char* self, char** arguments) {
    char path[PATH_MAX];
    setenv("APPIMAGE", self, 1);
    setenv("APPDIR", folder, 1);
    setenv("ARGV0", arguments[0], 1);
    snprintf(path, sizeof path, "%s/AppRun", folder);
    execv(path, arguments);
    return trouble(path);
}

static int extract_and_run(const char* self, size_t offset, char** arguments) {
    char folder[PATH_MAX];
    if (!temporary_folder(folder, "hybridscope-extracted")) {
        return trouble(folder);
    }
    int status = kCannotRun << 8;
    if (extract(self, offset, folder)) {
        const pid_t child = fork();
        if (child == 0) {
            _exit(run(folder, self, arguments));
        }
        signal(SIGINT, SIG_IGN); // the child's to answer; the folder has to go after it
        waitpid(child, &status, 0);
    } else {
        fprintf(stderr, "%s cannot be extracted to %s: is there room?\n", self, folder);
    }
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// --- showing by FUSE ----------------------------------------------------------------------------

// Serves the image until the other end of `program` closes, which it does with the program's end.
static int serve(const char* self, size_t offset, const char* folder, int ready, int program) {
    sqfs_ll* image = sqfs_ll_open(self, offset);
    if (image == NULL) {
        return 1;
    }
    struct fuse_lowlevel_ops ops = {
        .getattr = sqfs_ll_op_getattr,
        .opendir = sqfs_ll_op_opendir,
        .releasedir = sqfs_ll_op_releasedir,
        .readdir = sqfs_ll_op_readdir,
        .lookup = sqfs_ll_op_lookup,
        .open = sqfs_ll_op_open,
        .create = sqfs_ll_op_create,
        .release = sqfs_ll_op_release,
        .read = sqfs_ll_op_read,
        .readlink = sqfs_ll_op_readlink,
        .listxattr = sqfs_ll_op_listxattr,
        .getxattr = sqfs_ll_op_getxattr,
        .forget = sqfs_ll_op_forget,
        .statfs = stfs_ll_op_statfs,
    };
    char* words[] = {"hybridscope", "-o", "ro,nodev,nosuid,fsname=hybridscope"};
    struct fuse_args options = FUSE_ARGS_INIT(3, words);
    sqfs_ll_chan channel;
    if (sqfs_ll_mount(&channel, folder, &options, &ops, sizeof ops, image) != SQFS_OK) {
        return 1;
    }
    if (write(ready, "1", 1) != 1) {
        return 1;
    }
    close(ready);
    const pid_t server = getpid();
    if (fork() == 0) { // waits in the server's place, whose loop does not look at pipes
        char byte;
        while (read(program, &byte, 1) > 0) {
        }
        kill(server, SIGTERM);
        _exit(0);
    }
    close(program);
    fuse_set_signal_handlers(channel.session);
    fuse_session_loop(channel.session);
    fuse_remove_signal_handlers(channel.session);
    sqfs_ll_unmount(&channel, folder);
    return rmdir(folder);
}

static int mount_and_run(const char* self, size_t offset, char** arguments) {
    char folder[PATH_MAX];
    int ready[2];
    int program[2]; // its writing end stays open in the program, and closes with it
    if (!temporary_folder(folder, "hybridscope-mounted") || pipe(ready) != 0 ||
        pipe(program) != 0) {
        return trouble(folder);
    }
    const pid_t child = fork();
    if (child == 0) {
        close(ready[0]);
        close(program[1]);
        if (fork() != 0) {
            _exit(0); // so that the server is nobody's child
        }
        setsid();
        const int nothing = open("/dev/null", O_RDWR);
        for (int stream = 0; stream < 3; ++stream) {
            dup2(nothing, stream);
        }
        _exit(serve(self, offset, folder, ready[1], program[0]));
    }
    waitpid(child, NULL, 0);
    close(ready[1]);
    close(program[0]);
    char byte;
    const bool mounted = read(ready[0], &byte, 1) == 1;
    close(ready[0]);
    if (!mounted) { // no FUSE here
        close(program[1]);
        rmdir(folder);
        return extract_and_run(self, offset, arguments);
    }
    return run(folder, self, arguments);
}

int main(int argc, char** argv) {
    char self[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0) {
        return trouble("/proc/self/exe");
    }
    self[length] = 0;
    const size_t offset = image_offset(self);
    const char* word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "--appimage-offset") == 0) {
        printf("%zu\n", offset);
        return 0;
    }
    if (strcmp(word, "--appimage-extract") == 0) {
        return extract(self, offset, "squashfs-root") ? 0 : trouble("squashfs-root");
    }
    if (strcmp(word, "--appimage-extract-and-run") == 0) {
        argv[1] = argv[0];
        return extract_and_run(self, offset, argv + 1);
    }
    return mount_and_run(self, offset, argv);
}
