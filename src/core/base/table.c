/* The table of table.h. */
#include "base/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void
hl_table_init(hl_table *table, size_t item_size)
{
    *table = (hl_table){.item_size = item_size};
}

void
hl_table_fini(hl_table *table)
{
    for (size_t block = 0; block < table->block_count; block++) {
        free(table->blocks[block]);
    }
    free(table->blocks);
    hl_table_init(table, table->item_size);
}

/* Make room for a pointer to block. */
static int
table_grow(hl_table *table, size_t block)
{
    size_t count = table->block_count > 0 ? table->block_count : 1;
    while (count <= block) {
        count *= 2;
    }
    char **blocks = calloc(count, sizeof(*blocks));
    if (blocks == NULL) {
        return -1;
    }
    if (table->block_count > 0) {
        memcpy(blocks, table->blocks, table->block_count * sizeof(*blocks));
    }
    free(table->blocks);
    table->blocks = blocks;
    table->block_count = count;
    return 0;
}

void *
hl_table_need(hl_table *table, int index)
{
    assert(index >= 0);
    size_t block = (size_t)index / HL_TABLE_BLOCK;
    if (block >= table->block_count && table_grow(table, block) < 0) {
        return NULL;
    }
    if (table->blocks[block] == NULL) {
        table->blocks[block] = calloc(HL_TABLE_BLOCK, table->item_size);
    }
    return hl_table_at(table, index);
}

void *
hl_table_next(const hl_table *table, int *index)
{
    size_t next = (size_t)*index + 1; /* -1 becomes 0 */
    while (next / HL_TABLE_BLOCK < table->block_count) {
        void *item = hl_table_at(table, (int)next);
        if (item != NULL) {
            *index = (int)next;
            return item;
        }
        next += HL_TABLE_BLOCK - next % HL_TABLE_BLOCK;
    }
    return NULL;
}
