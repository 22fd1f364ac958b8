"""What every generated kernel begins with: numbers, functions, matrix products, and the way to and from tensors."""

from __future__ import annotations

LANES = 16
"""Windows that a kernel computes at a time: a value of n units is n rows of so many."""

PROLOGUE = f"""
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES {LANES}
typedef int32_t integer;
"""

_FLOAT = """
typedef float real;
typedef int32_t bits;
#define FLOOR __builtin_floorf
#define MANTISSA 23
#define BIAS 127
#define MOST 88.0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
"""
_DOUBLE = """
typedef double real;
typedef int64_t bits;
#define FLOOR __builtin_floor
#define MANTISSA 52
#define BIAS 1023
#define MOST 700.0
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
"""
REALS = {"float": _FLOAT, "double": _DOUBLE}
"""Type of the real numbers to what it defines."""
TERMS = {"float": 8, "double": 14}
"""Of the series of expm1 within half of ln 2 of zero: the first that is left out is below the rounding of 1."""

FUNCTIONS = """
/* 2**n (1 + q) = exp(v), v = n ln 2 + r, q = expm1(r) */
static inline real power(bits n)
{
    real found;
    const bits at = (bits)((n + BIAS) << MANTISSA);
    memcpy(&found, &at, sizeof found);
    return found;
}

static inline real limited(real v, real lo, real hi)
{
    v = v < lo ? lo : v;
    return v > hi ? hi : v;
}

static inline real series(real r)
{
    real q = (real)SERIES_LAST;
    SERIES
    return q * r;
}

static inline real expm1_of(real v)
{
    const real x = limited(v, -MOST, MOST);
    const real n = FLOOR(x * (real)1.44269504088896340736 + (real)0.5);
    const real r = (x - n * LN2_HIGH) - n * LN2_LOW;
    const real two_n = power((bits)n);
    return two_n * series(r) + (two_n - 1);
}

static inline real sigmoid_of(real v) { return 1 / (2 + expm1_of(-v)); }

static inline real tanh_of(real v)
{
    const real e = expm1_of(2 * v);
    return e / (e + 2);
}
"""

MEMORY = """
#define VECTOR(T) T __attribute__((vector_size(LANES * sizeof(T)), aligned(64), may_alias))
typedef VECTOR(real) reals;
typedef VECTOR(integer) integers;

#ifdef __AVX512F__
#define ROWS 8
#else
#define ROWS 4
#endif

/* out = start + weights v, of rows at a time: each weight is multiplied with all lanes */
#define PRODUCT(T, V) \\
static inline __attribute__((always_inline)) void T##_rows(int64_t count, int64_t columns, const T *weights, \\
    const T *v, const T *start, T *out) \\
{ \\
    V sum[ROWS]; \\
    for (int i = 0; i < count; i++) sum[i] = start ? ((const V *)start)[i] : (V){0}; \\
    for (int64_t k = 0; k < columns; k++) { \\
        const V x = ((const V *)v)[k]; \\
        for (int i = 0; i < count; i++) sum[i] += weights[i * columns + k] * x; \\
    } \\
    for (int i = 0; i < count; i++) ((V *)out)[i] = sum[i]; \\
} \\
static void T##_product(int64_t rows, int64_t columns, const T *weights, const T *v, const T *start, T *out) \\
{ \\
    int64_t r = 0; \\
    for (; r + ROWS <= rows; r += ROWS) \\
        T##_rows(ROWS, columns, weights + r * columns, v, start ? start + r * LANES : NULL, out + r * LANES); \\
    for (; r < rows; r++) \\
        T##_rows(1, columns, weights + r * columns, v, start ? start + r * LANES : NULL, out + r * LANES); \\
}
PRODUCT(real, reals)
PRODUCT(integer, integers)

static void *taken(char **scratch, int64_t rows, size_t size)
{
    void *found = *scratch;
    *scratch += (size_t)rows * LANES * size;
    return found;
}

/* Between a tensor (length, steps, windows), at a step and a first window, and lanes: n of them are windows.
   stride is the distance between elements. */
#define STREAMS(T) \\
static void T##_load(int64_t length, int64_t stride, const T *from, int64_t n, T *restrict out) \\
{ \\
    if (n < LANES || !from) memset(out, 0, (size_t)length * LANES * sizeof(T)); \\
    if (!from) return; \\
    for (int64_t j = 0; j < length; j++) { \\
        if (n == LANES) memcpy(out + j * LANES, from + j * stride, LANES * sizeof(T)); \\
        else for (int64_t w = 0; w < n; w++) out[j * LANES + w] = from[j * stride + w]; \\
    } \\
} \\
static void T##_store(int64_t length, int64_t stride, const T *restrict v, int64_t n, T *to) \\
{ \\
    for (int64_t j = 0; j < length; j++) { \\
        if (n == LANES) memcpy(to + j * stride, v + j * LANES, LANES * sizeof(T)); \\
        else for (int64_t w = 0; w < n; w++) to[j * stride + w] = v[j * LANES + w]; \\
    } \\
} \\
static void T##_tile(int64_t length, const T *from, T *out) \\
{ \\
    for (int64_t j = 0; j < length; j++) for (int w = 0; w < LANES; w++) out[j * LANES + w] = from[j]; \\
} \\
/* The state of the windows whose last step this is */ \\
static void T##_end(int64_t length, int64_t windows, const T *v, int64_t n, const int64_t *lengths, int64_t steps, \\
    int64_t t, T *to) \\
{ \\
    if (!to) return; \\
    if (!lengths) { \\
        if (t == steps - 1) T##_store(length, windows, v, n, to); \\
        return; \\
    } \\
    for (int64_t w = 0; w < n; w++) if (lengths[w] == t + 1) \\
        for (int64_t j = 0; j < length; j++) to[j * windows + w] = v[j * LANES + w]; \\
}
STREAMS(real)
STREAMS(integer)

static inline void real_sum(int64_t length, const real *restrict v, real *restrict sum)
{
    for (int64_t i = 0; i < length * LANES; i++) sum[i] += v[i];
}

static inline void real_total(int64_t length, const real *sum, real *out)
{
    for (int64_t j = 0; j < length; j++) {
        real total = 0;
        for (int w = 0; w < LANES; w++) total += sum[j * LANES + w];
        out[j] = total;
    }
}

/* 1 in the lanes of windows that have this step */
static inline void inside_of(int64_t length, int64_t n, const int64_t *lengths, int64_t t, real *out)
{
    for (int w = 0; w < LANES; w++) out[w] = w < n && (!lengths || t < lengths[w]) ? 1 : 0;
    for (int64_t j = 1; j < length; j++) memcpy(out + j * LANES, out, LANES * sizeof(real));
}
"""


MATVEC = """
/* out = start + weights v in integers: by floats, which hold them, where their weights are given */
static void matvec(int64_t rows, int64_t columns, const integer *weights, const float *exact, const integer *v,
    const integer *start, float *as_float, integer *out)
{
    if (!exact) {
        integer_product(rows, columns, weights, v, start, out);
        return;
    }
    for (int64_t i = 0; i < columns * LANES; i++) as_float[i] = (float)v[i];
    real_product(rows, columns, exact, as_float, NULL, (float *)out);
    for (int64_t i = 0; i < rows * LANES; i++) out[i] = (integer)((const float *)out)[i] + start[i];
}
"""


def beginning(real: str) -> str:
    """The text for real numbers that are ``float`` or ``double``."""
    terms = [1.0]
    for k in range(2, TERMS[real] + 1):
        terms.append(terms[-1] / k)
    steps = "\n    ".join(f"q = q * r + (real){term!r};" for term in reversed(terms[:-1]))
    functions = FUNCTIONS.replace("SERIES_LAST", repr(terms[-1])).replace("SERIES\n", f"{steps}\n")
    return PROLOGUE + REALS[real] + functions + MEMORY + (MATVEC if real == "float" else "")
