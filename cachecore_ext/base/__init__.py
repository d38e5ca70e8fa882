"""The ground floor: atomics, locks, the clock, hashing, counters and the kernel's declarations."""
