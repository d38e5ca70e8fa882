"""A witness of when a core stood still: a thread on it that asks to be woken at fixed times and notes when it was not.

Where the system lets it, the thread has a real-time priority, so that nothing in user space that runs on the core can
keep it waiting: if it comes late, the machine (the hypervisor, an interrupt, the kernel where it cannot be preempted)
has held the whole core up, and whatever else runs there cannot be blamed.
"""

from libc.stdint cimport uint32_t, uint64_t

from bench.sockets cimport CLOCK_MONOTONIC, now_ns, timespec

import os
import threading

cdef extern from "<time.h>" nogil:
    int TIMER_ABSTIME
    int clock_nanosleep(int clock, int flags, const timespec *request, timespec *remain) noexcept

cdef enum:
    NOTES_MAX = 4096
    PERIOD_NS = 250_000
    LATE_NS = 200_000  # what is noted; coming in time takes some 10 us


cdef struct Note:
    uint64_t first
    uint64_t last

PRIORITY = 10


cdef class Witness:
    """Watches one core while it is entered; afterwards ``still`` are the stretches of time, (first, last) in ns on the
    monotonic clock, in which the core stood still, and ``real_time`` says whether the priority was granted."""

    cdef Note notes[NOTES_MAX]
    cdef uint32_t count
    cdef bint ended
    cdef object cpus, thread, ready
    cdef readonly bint real_time

    def __cinit__(self, cpus):
        self.cpus = cpus
        self.ready = threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        self.ready.wait()
        return self

    def __exit__(self, *exception):
        self.ended = True
        self.thread.join()

    @property
    def still(self):
        return [(self.notes[i].first, self.notes[i].last) for i in range(self.count)]

    def _watch(self):
        if self.cpus:
            os.sched_setaffinity(0, self.cpus)
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
            self.real_time = True
        except OSError:
            self.real_time = False
        self.ready.set()
        with nogil:
            self._loop()

    cdef void _loop(self) noexcept nogil:
        cdef timespec until
        cdef uint64_t due = now_ns(), now
        while not self.ended:
            due += PERIOD_NS
            until.tv_sec = <long>(due // 1_000_000_000)
            until.tv_nsec = <long>(due % 1_000_000_000)
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL)
            now = now_ns()
            if now > due + LATE_NS:
                if self.count < <uint32_t>NOTES_MAX:
                    self.notes[self.count] = Note(due, now)
                    self.count += 1
                due = now
