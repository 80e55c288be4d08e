/* CRC-32 as zlib computes it (polynomial 0xedb88320). */
#ifndef SPPROF_CHECKSUM_H
#define SPPROF_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* That of what `before` is the checksum of (0: nothing), followed by `size` bytes. Any thread, at any time. */
uint32_t checksum(uint32_t before, const void *bytes, size_t size);

#endif
