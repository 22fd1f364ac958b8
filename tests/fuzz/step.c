/* Bytes are commands: samples of the declared range, raw samples of any value, repetitions, results, resets, windows. */
#include "checks.h"

enum { MOST_STEPS = 2000 };

static size_t left;
static const uint8_t *next;

static int32_t word(void)
{
    int32_t value = 0;
    if (left >= 2) {
        value = (int32_t)(next[0] | next[1] << 8) - 32768;
        next += 2;
        left -= 2;
    } else {
        left = 0;
    }
    return value;
}

static X_TYPE input(void)
{
    const int32_t value = word() / (32768 / (X_LIMIT + 1));
    return (X_TYPE)(value < -X_LIMIT ? -X_LIMIT : value > X_LIMIT ? X_LIMIT : value);
}

static void run_window(m_scratch *scratch)
{
    static m_output output;
    m_state *state = memory(sizeof *state);
    const int32_t steps = (int32_t)(*next++) - 2;
    const int accepted = steps >= M_FEWEST_STEPS && steps <= M_STEPS;
    const size_t length = (size_t)(accepted ? steps : 1) * M_CHANNELS;
    X_TYPE *x = memory(length * sizeof *x);
    size_t k;
    left--;
    for (k = 0; k < length; k++) x[k] = input();
    memset(state, 0xaa, sizeof *state);
    require(m_run(state, scratch, x, steps, &output) == (accepted ? 0 : M_ERROR_STEPS));
    if (accepted) check_state(state);
    free(x);
    free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    m_state *state = memory(sizeof *state);
    m_scratch *scratch = memory(sizeof *scratch);
    X_TYPE *x = memory(M_CHANNELS * sizeof *x);
    int16_t *raw = memory(M_CHANNELS * sizeof *raw);
    int32_t steps = 0, j;
    next = data;
    left = size;
    memset(x, 0, M_CHANNELS * sizeof *x);
    memset(scratch, 0xaa, sizeof *scratch);
    m_reset(state);
    while (left >= 2 && steps < MOST_STEPS) {
        const uint8_t command = *next++;
        int32_t times = 1;
        left--;
        switch (command % 8) {
        case 0:
            m_reset(state);
            break;
        case 1:
            check_result(state, scratch);
            break;
        case 2:
            run_window(scratch);
            break;
        case 3:
            for (j = 0; j < M_CHANNELS; j++) raw[j] = (int16_t)word();
            m_normalize(raw, x);
            for (j = 0; j < M_CHANNELS; j++) require(abs(x[j]) <= X_LIMIT);
            break;
        case 4:
            times = command;
            break;
        default:
            for (j = 0; j < M_CHANNELS; j++) x[j] = input();
        }
        if (command % 8 >= 3) {
            for (j = 0; j < times; j++) m_step(state, scratch, x);
            steps += times;
            check_state(state);
        }
    }
    check_result(state, scratch);
    free(raw);
    free(x);
    free(scratch);
    free(state);
    return 0;
}
