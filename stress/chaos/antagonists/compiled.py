"""Code that is made, run and dropped, so that the next takes its address."""

from antagonists import Antagonist, expect

FILE = "<churn>"


class Compiled(Antagonist):
    # With no profiler in the process, 3.13.15 without the GIL keeps most of this for ever, and 3.14.7 scatters what it keeps:
    # a minute of it adds 20 MiB.
    grows = True
    in_company = True

    def round(self, dice):
        for _ in range(20):
            # Few distinct numbers and names: the interpreter keeps each constant and each name for ever.
            number, name = dice.randrange(8), f"made_{dice.randrange(4)}"
            text = f"def {name}(x):\n    y = x + {number}\n    return y * 2\nresult = {name}(5)\n"
            space = {}
            exec(compile(text, FILE, "exec"), space)  # noqa: S102 - code that comes and goes is the point
            expect(space["result"] == (5 + number) * 2, f"made code gave {space['result']}")
