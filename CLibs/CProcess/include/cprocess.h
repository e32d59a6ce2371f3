#ifndef CPROCESS_H
#define CPROCESS_H

/// Lets the calling thread, and those it starts from now on, run as soon as they wake up, for a short
/// time: the shortest slice of the processor that Linux gives. They get as much of it as others, in
/// smaller parts. Without that a thread that wakes up waits until the one that runs has had its
/// whole slice, three milliseconds or so. Kernels before 6.12 take no notice.
void cprocess_take_short_turns(void);

/// Gives back what the process has of its own code and constants in memory. What runs on comes again
/// from the page cache, piece by piece; what only its start has needed does not.
///
/// What a segment that can be written to holds stays: relocations have changed it.
void cprocess_release_code(void);

#endif
