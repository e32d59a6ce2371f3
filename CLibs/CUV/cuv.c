#define _GNU_SOURCE
#include "cuv.h"

#include <sys/socket.h>

int cuv_accept(int listener, struct sockaddr *peer, socklen_t *length) {
    return accept4(listener, peer, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
