"""Recursion until the interpreter refuses, in Python alone and through C."""

import functools

from antagonists import Antagonist, expect


def down(depth):
    return down(depth + 1) + 1


def through_c(depth):
    return functools.reduce(lambda left, right: through_c(depth + 1), (1, 2))


def counted(depth):
    return 1 + counted(depth - 1) if depth else 0


class Recursion(Antagonist):
    in_company = True

    def round(self, dice):
        for function in (down, through_c):
            try:
                function(0)
            except RecursionError:
                continue
            expect(False, "recursion without end ended")
        depth = dice.randrange(500)
        expect(counted(depth) == depth, "a recursion lost count")
