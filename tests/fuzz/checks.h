/* What the targets have in common. X_TYPE and X_LIMIT are the model's input integers. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "m.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

/* Exactly so much memory, so that a sanitizer sees what is read or written beyond it. */
static void *memory(size_t size)
{
    void *found = malloc(size);
    require(found != NULL);
    return found;
}

/* Each value of a state is in its range, and comes back from its bytes. */
static void check_state(const m_state *state)
{
    static uint8_t first[M_SAVED_BYTES], second[M_SAVED_BYTES];
    static m_state other;
    m_save(state, first);
    require(m_restore(&other, first) == 0);
    m_save(&other, second);
    require(memcmp(first, second, sizeof first) == 0);
}

/* Results do not depend on what scratch memory held, and leave the state alone. */
static void check_result(const m_state *state, m_scratch *scratch)
{
    static uint8_t before[M_SAVED_BYTES], after[M_SAVED_BYTES];
    static m_output first, second;
    m_save(state, before);
    m_result(state, scratch, &first);
    memset(scratch, 0x55, sizeof *scratch);
    m_result(state, scratch, &second);
    m_save(state, after);
    require(memcmp(&first, &second, sizeof first) == 0);
    require(memcmp(before, after, sizeof before) == 0);
    require(first.class_index[0] >= 0 && first.class_index[0] < M_CLASSES);
}
