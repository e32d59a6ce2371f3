// libuv, the event loop, and what Swift's view of the C library lacks beside it: accept4, and
// the timers of sys/timerfd.h.
#ifndef CUV_H
#define CUV_H

#include <sys/socket.h>
#include <sys/timerfd.h>
#include <uv.h>

#if UV_VERSION_HEX < 0x012A00
#error "libuv 1.42 or newer is needed"
#endif

// accept4 with SOCK_NONBLOCK and SOCK_CLOEXEC: its declaration is hidden without _GNU_SOURCE,
// which Swift's view of the C library does not define.
int cuv_accept(int listener, struct sockaddr *peer, socklen_t *length);

#endif
