#ifndef CPROCESS_H
#define CPROCESS_H

/// Gives back what the process has of its own code and constants in memory. What runs on comes again
/// from the page cache, piece by piece; what only its start has needed does not.
///
/// What a segment that can be written to holds stays: relocations have changed it.
void cprocess_release_code(void);

#endif
