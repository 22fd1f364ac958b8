/* What the compiler may call without a libc: the C names, and the names of Arm's run-time ABI (IHI0043, 4.3.4). */
#include <stddef.h>
#include <stdint.h>

/* Loops in here must not become calls of the functions they implement. */
#define SELF_CONTAINED __attribute__((no_builtin))

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);

SELF_CONTAINED void *memcpy(void *to, const void *from, size_t n) {
  uint8_t *t = to;
  const uint8_t *f = from;

  if ((((uintptr_t)t | (uintptr_t)f) & 3u) == 0) {
    for (; n >= 4; n -= 4, t += 4, f += 4) {
      *(uint32_t *)(void *)t = *(const uint32_t *)(const void *)f;
    }
  }
  while (n-- > 0) {
    *t++ = *f++;
  }
  return to;
}

SELF_CONTAINED void *memmove(void *to, const void *from, size_t n) {
  uint8_t *t = to;
  const uint8_t *f = from;

  if ((uintptr_t)t <= (uintptr_t)f) {
    return memcpy(to, from, n);
  }
  while (n-- > 0) {
    t[n] = f[n];
  }
  return to;
}

SELF_CONTAINED void *memset(void *to, int value, size_t n) {
  uint8_t *t = to;
  const uint32_t word = 0x01010101u * (uint8_t)value;

  if (((uintptr_t)t & 3u) == 0) {
    for (; n >= 4; n -= 4, t += 4) {
      *(uint32_t *)(void *)t = word;
    }
  }
  while (n-- > 0) {
    *t++ = (uint8_t)value;
  }
  return to;
}

#define COPY(name, function)                      \
  void name(void *to, const void *from, size_t n); \
  void name(void *to, const void *from, size_t n) { (void)function(to, from, n); }
#define SET(name)                             \
  void name(void *to, size_t n, int value);   \
  void name(void *to, size_t n, int value) { (void)memset(to, value, n); }
#define CLEAR(name)              \
  void name(void *to, size_t n); \
  void name(void *to, size_t n) { (void)memset(to, 0, n); }

COPY(__aeabi_memcpy, memcpy)
COPY(__aeabi_memcpy4, memcpy)
COPY(__aeabi_memcpy8, memcpy)
COPY(__aeabi_memmove, memmove)
COPY(__aeabi_memmove4, memmove)
COPY(__aeabi_memmove8, memmove)
SET(__aeabi_memset)
SET(__aeabi_memset4)
SET(__aeabi_memset8)
CLEAR(__aeabi_memclr)
CLEAR(__aeabi_memclr4)
CLEAR(__aeabi_memclr8)
