#ifndef CSTORAGE_H
#define CSTORAGE_H

#include <stdint.h>

/* glibc declares these only under _GNU_SOURCE, which its Swift module is built without. */

/// Reserves the range and extends the file to its end: fallocate with mode 0.
/// Returns 0, or the negative error number. posix_fallocate would write every block where the file
/// system cannot reserve.
int cstorage_fallocate(int file, int64_t offset, int64_t bytes);

/// Begins to bring the range to the disk and does not wait: sync_file_range. A hint: only fsync
/// answers for anything.
void cstorage_start_writeback(int file, int64_t offset, int64_t bytes);

/// Lets the calling thread run only where no other wants to: SCHED_IDLE. A merely nice thread keeps
/// its processor for milliseconds when another one wakes up. 0 makes it an ordinary thread again.
void cstorage_idle_thread(int is_idle);

/// Names the calling thread: pthread_setname_np. At most 15 characters.
void cstorage_name_thread(const char *name);

#endif
