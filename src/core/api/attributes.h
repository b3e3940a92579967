/* asyncio's private loop attributes, kept in the struct (see HL_ATTR_* in sched/loop.h). */
#ifndef HL_API_ATTRIBUTES_H
#define HL_API_ATTRIBUTES_H

#include "py/compat.h"

/* The getsets of Loop; NULL-terminated. */
extern PyGetSetDef hl_loop_getset[];

#endif
