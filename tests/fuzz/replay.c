/* Gives the target each file that is named; prints how many. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int count, char **names)
{
    static uint8_t data[65536];
    int k;
    for (k = 1; k < count; k++) {
        FILE *file = fopen(names[k], "rb");
        size_t size;
        if (!file) return 2;
        size = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%d\n", count - 1);
    return 0;
}
