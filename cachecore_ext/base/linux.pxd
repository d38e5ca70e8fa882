"""What the kernel and libc offer: declarations only."""
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <arpa/inet.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <poll.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <sys/mman.h>
    #include <sys/random.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <sys/types.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>
    static inline int cc_errno(void) { return errno; }
    /* glibc's recv and send are points at which a thread can be cancelled. Saying so takes two locked instructions a
       call where there are several threads; nobody cancels ours. A sanitizer wants to see the calls, though. */
    #if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(SYS_recvfrom) || !defined(SYS_sendto)
    #define cc_recv(fd, data, size) recv((fd), (data), (size), 0)
    #define cc_send(fd, data, size) send((fd), (data), (size), MSG_NOSIGNAL)
    #else
    #define cc_recv(fd, data, size) syscall(SYS_recvfrom, (fd), (data), (size_t)(size), 0, NULL, NULL)
    #define cc_send(fd, data, size) syscall(SYS_sendto, (fd), (data), (size_t)(size), MSG_NOSIGNAL, NULL, 0)
    #endif
    #define CC_PASSING(n) ((n) > 1040 ? (n) : 1040)
    #ifdef __GLIBC__
    #include <malloc.h>
    static inline void cc_return_freed(int beyond, int kept) {
        mallopt(M_TRIM_THRESHOLD, beyond);
        mallopt(M_MMAP_THRESHOLD, beyond);
        mallopt(M_TOP_PAD, kept);
    }
    #else
    #define cc_return_freed(beyond, kept) ((void)0)
    #endif
    """
    int error_number "cc_errno"() noexcept nogil
    # Let malloc give back what is freed at the end of a heap, once it is ``beyond`` so many bytes, but for ``kept``.
    void malloc_returns "cc_return_freed"(int beyond, int kept) noexcept nogil
    # The size to ask of malloc for a block that soon goes again: smaller ones are kept by glibc for their thread, and a
    # kept block at the end of a heap keeps all that is below it.
    size_t passing_size "CC_PASSING"(size_t nbytes) noexcept nogil
    enum: EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED

    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    enum: CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC, CLOCK_REALTIME
    int clock_gettime(int clock, timespec *now) noexcept nogil
    time_t time(time_t *now) noexcept nogil

    ctypedef struct epoll_data_t:
        void *ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum: EPOLLIN, EPOLLOUT, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    int epoll_create1(int flags) noexcept nogil
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event) noexcept nogil
    int epoll_wait(int epfd, epoll_event *events, int max_events, int timeout_ms) noexcept nogil

    struct pollfd:
        int fd
        short events
    enum: POLLIN
    int poll(pollfd *fds, unsigned long n, int timeout_ms) noexcept nogil
    int ppoll(pollfd *fds, unsigned long n, const timespec *timeout, const void *mask) noexcept nogil

    enum: EFD_NONBLOCK, EFD_CLOEXEC
    int eventfd(unsigned int initial, int flags) noexcept nogil
    int eventfd_write(int fd, uint64_t value) noexcept nogil
    int eventfd_read(int fd, uint64_t *value) noexcept nogil

    enum: AF_UNIX, SOL_SOCKET, SO_DOMAIN
    int getsockopt(int fd, int level, int option, void *value, unsigned int *length) noexcept nogil
    enum: SOCK_NONBLOCK, SOCK_CLOEXEC, SHUT_WR, SHUT_RDWR, MSG_NOSIGNAL, MSG_DONTWAIT
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        unsigned int msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    int accept4(int fd, void *address, void *length, int flags) noexcept nogil
    int shutdown(int fd, int how) noexcept nogil
    int close(int fd) noexcept nogil
    # recv without flags, and send with MSG_NOSIGNAL, for the path of a request.
    ssize_t receive_bytes "cc_recv"(int fd, void *data, size_t size) noexcept nogil
    ssize_t send_bytes "cc_send"(int fd, const void *data, size_t size) noexcept nogil
    ssize_t recv(int fd, void *data, size_t size, int flags) noexcept nogil
    ssize_t send(int fd, const void *data, size_t size, int flags) noexcept nogil
    ssize_t sendmsg(int fd, const msghdr *message, int flags) noexcept nogil

    enum: AF_INET, AF_INET6, INET6_ADDRSTRLEN
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
    struct sockaddr_storage:
        uint16_t ss_family
    uint16_t ntohs(uint16_t number) noexcept nogil
    int getsockname(int fd, void *address, unsigned int *length) noexcept nogil
    int getpeername(int fd, void *address, unsigned int *length) noexcept nogil
    const char *inet_ntop(int family, const void *ip, char *text, unsigned int size) noexcept nogil

    enum: PROT_NONE, PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_SHARED, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE
    void *MAP_FAILED
    void *mmap(void *address, size_t length, int prot, int flags, int fd, int64_t offset) noexcept nogil
    int munmap(void *address, size_t length) noexcept nogil
    int mprotect(void *address, size_t length, int protection) noexcept nogil
    enum: MADV_DONTNEED, MADV_HUGEPAGE
    int madvise(void *address, size_t length, int advice) noexcept nogil
    enum: MS_SYNC
    int msync(void *address, size_t length, int flags) noexcept nogil
    enum: SEEK_END
    int64_t lseek(int fd, int64_t offset, int whence) noexcept nogil
    int ftruncate(int fd, int64_t length) noexcept nogil
    int posix_fallocate(int fd, int64_t offset, int64_t length) noexcept nogil  # returns the error's number
    ssize_t getrandom(void *data, size_t size, unsigned int flags) noexcept nogil
