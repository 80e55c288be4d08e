"""mutate.py CORPUS OUT COUNT SEED: writes COUNT damaged copies of the corpus's files into the folder OUT.

A fuzzer that is not guided: bits flipped, words replaced, runs copied from other files. The seed is the only randomness.
"""

import random
import sys
from pathlib import Path

WORDS = (0, 1, 8, 1 << 47, 1 << 48, 1 << 52, 0xB4 << 56, (1 << 64) - 8)


def flip(draw, data, _):
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def replace_word(draw, data, _):
    at = draw.randrange(len(data))
    data[at : at + 8] = draw.choice(WORDS).to_bytes(8, "little")


def splice(draw, data, others):
    other = draw.choice(others)
    start, length = draw.randrange(len(other)), draw.randrange(1, 64)
    at = draw.randrange(len(data))
    data[at : at + length] = other[start : start + length]


def main(corpus, out, count, seed):
    files = sorted(path for path in Path(corpus).rglob("*") if path.is_file())
    inputs = [data for data in (path.read_bytes() for path in files) if data]
    if not inputs:
        raise SystemExit(f"mutate.py: there is no input in {corpus}; name a folder of fuzz/corpus")
    draw = random.Random(int(seed))
    Path(out).mkdir(parents=True, exist_ok=True)
    for number in range(int(count)):
        data = bytearray(draw.choice(inputs))
        for _ in range(draw.randrange(1, 9)):
            draw.choice((flip, replace_word, splice))(draw, data, inputs)
        (Path(out) / f"{seed}-{number:06}").write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
