/* Following the records of a TLS stream: see records.h. */
#include "base/records.h"

#include <string.h>

enum {
    FIRST_TYPE = 20, /* change_cipher_spec */
    LAST_TYPE = 24,  /* heartbeat */
    MAJOR_VERSION = 3,
    /* The most that TLS 1.2 lets encryption and compression add to a record. */
    MAX_BODY = HL_RECORD_MAX_PLAIN + 2048
};

/* Note what a complete header announces. */
static void
records_begin(hl_records *records)
{
    const uint8_t *header = records->header;
    records->header_length = 0;
    records->body = records->left = (uint32_t)header[3] << 8 | header[4];
    records->is_lost = header[0] < FIRST_TYPE || header[0] > LAST_TYPE ||
                       header[1] != MAJOR_VERSION || records->left > MAX_BODY ||
                       records->left == 0;
}

static inline size_t
smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Skip what is there of the current body, at most length bytes.  Returns how much it was. */
static size_t
records_skip(hl_records *records, size_t length)
{
    size_t step = smaller(records->left, length);
    records->left -= (uint32_t)step;
    if (records->left == 0) {
        records->count++;
        records->size += records->body;
    }
    return step;
}

/* Take what is there of the next header.  Returns how much it was. */
static size_t
records_take_header(hl_records *records, const char *data, size_t length)
{
    size_t step = smaller((size_t)HL_RECORD_HEADER - records->header_length, length);
    memcpy(records->header + records->header_length, data, step);
    records->header_length += (uint8_t)step;
    if (records->header_length == HL_RECORD_HEADER) {
        records_begin(records);
    }
    return step;
}

void
hl_records_follow(hl_records *records, const char *data, size_t length)
{
    while (length > 0 && !records->is_lost) {
        size_t step = records->left > 0 ? records_skip(records, length)
                                        : records_take_header(records, data, length);
        data += step;
        length -= step;
    }
}
