/* Where the records of a TLS stream begin and end.
 *
 * Plain C: it is shown the bytes of a stream once, in order, in pieces of any size, and counts
 * the records that are complete and were not taken yet.  It reads the header of each record,
 * type(1) version(2) length(2), and skips what that announces; nothing is decrypted and
 * nothing is kept.  What cannot be the header of a record ends the counting for good
 * (`is_lost`): whoever reads the stream then finds out by itself what is wrong with it. */
#ifndef HL_BASE_RECORDS_H
#define HL_BASE_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HL_RECORD_HEADER = 5, HL_RECORD_MAX_PLAIN = 16384 };

typedef struct {
    size_t count;  /* complete records that were not taken */
    size_t size;   /* bytes of the bodies of these, or more; 0 if there are none */
    uint32_t body; /* length of the current body */
    uint32_t left; /* bytes of it that are missing; 0: a header comes next */
    uint8_t header[HL_RECORD_HEADER];
    uint8_t header_length; /* bytes of the next header that came */
    bool is_lost;          /* this is no stream of records */
} hl_records;

/* Follow the next length bytes. */
void hl_records_follow(hl_records *records, const char *data, size_t length);

/* The first record was taken; nothing if there was none. */
static inline void
hl_records_take_one(hl_records *records)
{
    if (records->count > 0) {
        records->count--;
    }
    if (records->count == 0) {
        records->size = 0;
    }
}

/* All complete records were taken. */
static inline void
hl_records_take_all(hl_records *records)
{
    records->count = 0;
    records->size = 0;
}

#endif
