/* A table of items of one size, indexed by small numbers such as descriptors.
 *
 * Items stand in blocks of HL_TABLE_BLOCK, which are made zeroed when one of theirs is first
 * needed: the table costs what the numbers in use do, and an item never moves. */
#ifndef HL_BASE_TABLE_H
#define HL_BASE_TABLE_H

#include <stddef.h>

enum { HL_TABLE_BLOCK = 64 };

typedef struct {
    char **blocks; /* owned, and so is each that is not NULL */
    size_t block_count;
    size_t item_size;
} hl_table;

void hl_table_init(hl_table *table, size_t item_size);
void hl_table_fini(hl_table *table);

/* The item of index; NULL if it was never needed, or index is negative. */
static inline void *
hl_table_at(const hl_table *table, int index)
{
    size_t block = (unsigned)index / HL_TABLE_BLOCK;
    if (block >= table->block_count || table->blocks[block] == NULL) {
        return NULL;
    }
    return table->blocks[block] + (unsigned)index % HL_TABLE_BLOCK * table->item_size;
}

/* The same, made if need be; index is not negative.  NULL: no memory. */
void *hl_table_need(hl_table *table, int index);

/* The first item after *index (-1: of all), which becomes its index; NULL at the end.  Items
 * that nobody needed, but their neighbours, come too. */
void *hl_table_next(const hl_table *table, int *index);

#endif
