"""Threads that are born and end by the dozen."""

from antagonists import Antagonist, busy, busy_result, expect, together


class ThreadStorm(Antagonist):
    in_company = True

    def round(self, dice):
        limits = [dice.randrange(1, 400) for _ in range(dice.randrange(5, 40))]
        found = {}
        together([lambda i=i, limit=limit: found.update({i: busy(limit)}) for i, limit in enumerate(limits)])
        expect(found == {i: busy_result(limit) for i, limit in enumerate(limits)}, f"threads computed {found}")
