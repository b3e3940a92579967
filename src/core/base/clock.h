/* The monotonic clock, in seconds and in nanoseconds.
 *
 * Seconds are a double computed exactly as time.monotonic() does (integer nanoseconds
 * times 1e-9), so that the loop's own reading compares with the caller's floats.
 * clock_gettime(2) goes through the vdso: about 25 ns, no system call. */
#ifndef HL_BASE_CLOCK_H
#define HL_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t
hl_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline double
hl_clock_seconds(int64_t ns)
{
    /* The division by 1e9 (not a product with 1e-9) is what CPython does: it keeps the
     * result the double nearest to the true value. */
    return (double)ns / 1e9;
}

#endif
