#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64

#include "cstorage.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

int cstorage_fallocate(int file, int64_t offset, int64_t bytes) {
    return fallocate(file, 0, offset, bytes) == 0 ? 0 : -errno;
}

void cstorage_start_writeback(int file, int64_t offset, int64_t bytes) {
    sync_file_range(file, offset, bytes, SYNC_FILE_RANGE_WRITE);
}

void cstorage_idle_thread(int is_idle) {
    const struct sched_param none = {0};
    sched_setscheduler(0, is_idle ? SCHED_IDLE : SCHED_OTHER, &none);
}

void cstorage_name_thread(const char *name) {
    pthread_setname_np(pthread_self(), name);
}
