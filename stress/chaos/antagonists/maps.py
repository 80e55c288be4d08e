"""Mappings that come and go, so that what was memory a moment ago is none."""

import mmap

from antagonists import Antagonist, expect


class Maps(Antagonist):
    in_company = True

    def round(self, dice):
        made = []
        for _ in range(dice.randrange(1, 40)):
            size = mmap.PAGESIZE * dice.randrange(1, 64)
            mapping = mmap.mmap(-1, size)
            mark = dice.randrange(256)
            mapping[0] = mapping[size - 1] = mark
            made.append((mapping, size, mark))
        dice.shuffle(made)
        for mapping, size, mark in made:
            expect(mapping[0] == mapping[size - 1] == mark, "a mapping lost what was written")
            mapping.close()
