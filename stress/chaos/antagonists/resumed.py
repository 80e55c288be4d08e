"""Generators and coroutines that two threads resume in turn."""

import threading

from antagonists import Antagonist, busy, expect, together


def count(limit):
    for number in range(limit):
        busy(20)
        yield number


def relay(limit):
    yield from count(limit)


class Pause:
    def __init__(self, value):
        self.value = value

    def __await__(self):
        yield self.value


async def counting(limit):
    for number in range(limit):
        await pausing(number)


async def pausing(number):
    busy(20)
    await Pause(number)


def draw(source, lock, seen):
    while True:
        with lock:
            try:
                seen.append(source.send(None))
            except StopIteration:
                return
            except RuntimeError as error:  # the other thread saw the end
                if "already" not in str(error) and "cannot reuse" not in str(error):
                    raise
                return


def drawn_by_two(source):
    seen, lock = [], threading.Lock()
    together([lambda: draw(source, lock, seen)] * 2)
    return seen


class Generators(Antagonist):
    in_company = True

    def round(self, dice):
        limit = dice.randrange(1, 200)
        expect(drawn_by_two(relay(limit)) == list(range(limit)), "a generator's numbers came wrong")


class Coroutines(Antagonist):
    in_company = True

    def round(self, dice):
        limit = dice.randrange(1, 200)
        expect(drawn_by_two(counting(limit)) == list(range(limit)), "a coroutine's numbers came wrong")
