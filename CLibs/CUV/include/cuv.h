// libuv, the event loop. Everything Aviary needs of it can be called from Swift as it is.
#ifndef CUV_H
#define CUV_H

#include <uv.h>

#if UV_VERSION_HEX < 0x012A00
#error "libuv 1.42 or newer is needed"
#endif

#endif
