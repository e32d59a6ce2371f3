// libuv itself is a library of the system; this file only lets the build link it.
#include "cuv.h"
