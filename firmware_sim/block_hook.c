/* Counts executed instructions: a unicorn UC_HOOK_BLOCK callback. native_counter.py mirrors struct counter. */
#include <stdint.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

struct counter {
  uint64_t instructions;  /* executed so far */
  uint64_t limit;         /* stop before a block once this many were executed */
  uint64_t code_address;  /* of the executable segment */
  uint64_t halfwords;     /* its size */
  const uint8_t *code;    /* (2*halfwords) */
  uint32_t *block_size;   /* (halfwords) bytes of the block that last started here */
  uint32_t *block_length; /* (halfwords) its instructions */
  uint64_t *executed;     /* (halfwords) instructions executed in blocks that started here */
  int (*stop)(void *machine);
};

/* A halfword that begins with 0b11101, 0b11110 or 0b11111 is the first of two (ARMv7-M ARM, A5.1). */
static uint32_t count_instructions(const uint8_t *code, uint32_t size) {
  uint32_t count = 0;
  for (uint32_t at = 0; at < size; at += code[at + 1] >= 0xE8 ? 4 : 2) {
    count++;
  }
  return count;
}

EXPORT void count_block(void *machine, uint64_t address, uint32_t size, void *user_data) {
  struct counter *counter = user_data;
  uint64_t at = (address - counter->code_address) / 2; /* huge below the code */

  if (counter->instructions >= counter->limit || at + size / 2 > counter->halfwords) {
    (void)counter->stop(machine);
    return;
  }
  if (counter->block_size[at] != size) { /* first seen, or cut elsewhere than last time */
    counter->block_size[at] = size;
    counter->block_length[at] = count_instructions(counter->code + 2 * at, size);
  }
  counter->executed[at] += counter->block_length[at];
  counter->instructions += counter->block_length[at];
}
