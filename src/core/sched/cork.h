/* Bytes that are held back until the end of the ready-queue entry that wrote them.
 *
 * At most one object of a loop is corked at a time, so that what a program sends leaves in
 * the order in which it was sent: whoever corks, or sends past the queue, flushes the other
 * one first.  The turn flushes after each entry, before anything else runs.  The bytes are
 * in loop->corked_spans; the scheduler knows neither sockets nor transports. */
#ifndef HL_SCHED_CORK_H
#define HL_SCHED_CORK_H

#include "sched/loop.h"

/* True if this thread may look at what is corked.  Without a GIL only the one that runs the
 * loop; what another thread writes is in no order with what an entry does. */
static inline bool
hl_cork_is_accessible(const hl_loop *loop)
{
    return !HL_FREE_THREADED || hl_loop_owner(loop) == hl_thread_ident();
}

/* True if another thread runs the loop: it may hold back what was written before. */
static inline bool
hl_cork_is_foreign(const hl_loop *loop)
{
    return !hl_cork_is_accessible(loop) && hl_loop_owner(loop) != 0;
}

/* True if what object writes now may wait for the end of the entry. */
static inline bool
hl_cork_is_possible(const hl_loop *loop)
{
    return hl_cork_is_accessible(loop) && loop->is_in_entry &&
           !hl_loop_flag(&loop->is_writing_through);
}

/* What holds bytes back: borrowed from the loop, or NULL. */
static inline PyObject *
hl_cork_object(const hl_loop *loop)
{
    return hl_cork_is_accessible(loop) ? loop->corked : NULL;
}

/* Flush what is corked, if something is.  Runs user code.  Returns 0, or -1 with an
 * exception that must leave the loop. */
int hl_cork_flush(hl_loop *loop);

/* The same, until nothing but object is corked: user code may cork yet another one. */
static inline int
hl_cork_flush_others(hl_loop *loop, const PyObject *object)
{
    const PyObject *corked;
    while ((corked = hl_cork_object(loop)) != NULL && corked != object) {
        if (hl_cork_flush(loop) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The same, if it is object that is corked. */
static inline int
hl_cork_flush_own(hl_loop *loop, const PyObject *object)
{
    return hl_cork_object(loop) != object ? 0 : hl_cork_flush(loop);
}

/* Append length bytes of data (owner stolen, also on failure: a bytes object) to what object
 * holds back; flush is what will send it.  Nothing else may be corked.  Returns 0, or -1
 * with MemoryError. */
int hl_cork_push(hl_loop *loop, PyObject *object, hl_flush flush, PyObject *owner,
                 const char *data, size_t length);

/* Drop what is corked, unsent: the loop dies, or this is a forked child. */
void hl_cork_drop(hl_loop *loop);

/* The buffer that reads of this loop go through.  Returns it (borrowed from the loop), or
 * NULL with MemoryError. */
char *hl_loop_read_buffer(hl_loop *loop);

#endif
