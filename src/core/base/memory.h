/* What is said of memory that has run out in this process.
 *
 * ENOMEM of a system call is the kernel's, and an OSError in Python as any other. */
#ifndef HL_BASE_MEMORY_H
#define HL_BASE_MEMORY_H

/* Among answers that are -errno otherwise, which ends at -4095. */
enum { HL_NO_MEMORY = -4096 };

#endif
