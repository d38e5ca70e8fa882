"""What the compiled halves of the bench share: the system calls, as plain declarations.

Declarations and macros only, so that nothing of it has to be linked: every module compiles it in.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #include <errno.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <time.h>
    /* errno as an rvalue: Cython would otherwise take it for a variable of this module. */
    #define bench_errno() (errno)
    /* Unaligned loads of fixed width; the compiler makes one instruction of each. */
    static inline uint32_t bench_load4(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
    static inline uint64_t bench_load8(const void *p) { uint64_t v; memcpy(&v, p, 8); return v; }
    static inline void bench_store8(void *p, uint64_t v) { memcpy(p, &v, 8); }
    """
    ctypedef struct epoll_data_t:
        void *ptr

    struct epoll_event:
        uint32_t events
        epoll_data_t data

    struct iovec:
        void *iov_base
        size_t iov_len

    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen

    struct timespec:
        long tv_sec
        long tv_nsec

    const uint32_t EPOLLIN
    const uint32_t EPOLLOUT
    const int EPOLL_CTL_ADD
    const int EPOLL_CTL_MOD
    const int MSG_NOSIGNAL
    const int MSG_DONTWAIT
    const int EAGAIN
    const int EINTR
    const int CLOCK_MONOTONIC

    int epoll_create1(int flags) noexcept nogil
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event) noexcept nogil
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout) noexcept nogil
    ssize_t recv(int fd, void *buffer, size_t size, int flags) noexcept nogil
    ssize_t send(int fd, const void *buffer, size_t size, int flags) noexcept nogil
    ssize_t sendmsg(int fd, const msghdr *message, int flags) noexcept nogil
    int clock_gettime(int clock, timespec *now) noexcept nogil
    int nanosleep(const timespec *rest, timespec *left) noexcept nogil
    char *strerror(int number) noexcept nogil

    int bench_errno() noexcept nogil
    uint32_t bench_load4(const void *p) noexcept nogil
    uint64_t bench_load8(const void *p) noexcept nogil
    void bench_store8(void *p, uint64_t value) noexcept nogil


cdef inline uint64_t now_ns() noexcept nogil:
    """Monotonic time in nanoseconds."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


cdef inline int watch(int epoll, int operation, int fd, uint32_t events, void *owner) noexcept nogil:
    """Add or change (``operation``) what epoll reports of ``fd``; 0, or -1 with errno set."""
    cdef epoll_event event
    event.events = events
    event.data.ptr = owner
    return epoll_ctl(epoll, operation, fd, &event)
