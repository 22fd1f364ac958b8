/* Bytes are a saved state, after one that says whether the tag and the checksum are made right first. */
#include "checks.h"

enum { TAG_BYTES = 12, WITH_TAG = 1, WITH_CHECKSUM = 2, STEPS = 12 };

static void put_checksum(uint8_t *bytes)
{
    uint32_t crc = 0xffffffffu;
    int32_t j, k;
    for (j = 0; j < M_SAVED_BYTES - 4; j++) {
        crc ^= bytes[j];
        for (k = 0; k < 8; k++) crc = crc & 1u ? (crc >> 1) ^ 0xedb88320u : crc >> 1;
    }
    for (k = 0; k < 4; k++) bytes[M_SAVED_BYTES - 4 + k] = (uint8_t)(~crc >> (8 * k) & 0xffu);
}

/* Steps of extreme samples: in a state that was accepted nothing may overflow. */
static void go_on(m_state *state, unsigned chosen)
{
    m_scratch *scratch = memory(sizeof *scratch);
    X_TYPE *x = memory(M_CHANNELS * sizeof *x);
    int32_t t, j;
    memset(scratch, 0xaa, sizeof *scratch);
    check_result(state, scratch);
    for (t = 0; t < STEPS; t++) {
        for (j = 0; j < M_CHANNELS; j++) x[j] = (X_TYPE)(chosen >> ((t + j) % 6) & 1u ? -X_LIMIT : X_LIMIT);
        m_step(state, scratch, x);
        check_state(state);
    }
    check_result(state, scratch);
    free(x);
    free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t before[M_SAVED_BYTES], after[M_SAVED_BYTES];
    m_state *state = memory(sizeof *state);
    uint8_t *bytes = memory(M_SAVED_BYTES);
    const unsigned flags = size ? data[0] : 0;
    const size_t given = size ? size - 1 : 0;
    int code;
    m_reset(state);
    m_save(state, before);
    memset(bytes, 0, M_SAVED_BYTES);
    if (given) memcpy(bytes, data + 1, given < M_SAVED_BYTES ? given : M_SAVED_BYTES);
    if (flags & WITH_TAG) memcpy(bytes, before, TAG_BYTES);
    if (flags & WITH_CHECKSUM) put_checksum(bytes);
    code = m_restore(state, bytes);
    m_save(state, after);
    if (code == 0) {
        require(memcmp(after, bytes, M_SAVED_BYTES) == 0);
        go_on(state, flags >> 2);
    } else {
        require(code == M_ERROR_MODEL || code == M_ERROR_CHECKSUM || code == M_ERROR_RANGE);
        require(!((flags & WITH_TAG) && code == M_ERROR_MODEL));
        require(!((flags & WITH_CHECKSUM) && code == M_ERROR_CHECKSUM));
        require(memcmp(after, before, M_SAVED_BYTES) == 0);
    }
    free(bytes);
    free(state);
    return 0;
}
