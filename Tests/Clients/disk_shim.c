/* Loaded in front of libc: makes the disk slow or broken while the file named by DISK_SHIM says so.
 *
 *   delay N   fdatasync takes N milliseconds longer
 *   sync      fdatasync fails with EIO
 *   full      writes of logs and snapshots fail with ENOSPC
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

static int order(char word[16]) {
    int number = 0;
    FILE *file = fopen(getenv("DISK_SHIM"), "r");
    word[0] = 0;
    if (!file) return 0;
    if (fscanf(file, "%15s %d", word, &number) < 1) word[0] = 0;
    fclose(file);
    return number;
}

int fdatasync(int descriptor) {
    static int (*real)(int);
    char word[16];
    int number = order(word);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (!strcmp(word, "sync")) { errno = EIO; return -1; }
    if (!strcmp(word, "delay")) {
        struct timespec pause = {number / 1000, number % 1000 * 1000000L};
        nanosleep(&pause, NULL);
    }
    return real(descriptor);
}

ssize_t pwritev(int descriptor, const struct iovec *pieces, int count, off_t offset) {
    static ssize_t (*real)(int, const struct iovec *, int, off_t);
    char word[16];
    order(word);
    if (!real) real = (ssize_t (*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, "pwritev");
    if (!strcmp(word, "full")) { errno = ENOSPC; return -1; }
    return real(descriptor, pieces, count, offset);
}
