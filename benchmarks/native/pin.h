/* Both the load client and the servers in C run on the CPU that they are told. */
#ifndef PIN_H
#define PIN_H

#include <sched.h>
#include <stdbool.h>

/* Run this process on that CPU from here on; false with errno if it cannot. */
static inline bool
pin_to(int cpu)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((size_t)cpu, &cpus);
    return sched_setaffinity(0, sizeof(cpus), &cpus) == 0;
}

#endif
