"""Calls that wait, and that an interrupting signal would cut short: pipes, sockets, select, sleep, locks, children."""

import os
import select
import socket
import subprocess
import threading
import time

from antagonists import Antagonist, expect, together


def through(write, read, data):
    parts = []

    def reader():
        while sum(map(len, parts)) < len(data):
            parts.append(read(65536))

    def writer():
        left = memoryview(data)
        while left:
            left = left[write(left[:50000]) :]

    together([reader, writer])
    return b"".join(parts)


def pipe(data):
    reader, writer = os.pipe()
    try:
        return through(lambda part: os.write(writer, part), lambda most: os.read(reader, most), data)
    finally:
        os.close(reader)
        os.close(writer)


def sockets(data):
    left, right = socket.socketpair()
    with left, right:
        return through(left.send, right.recv, data)


def waits(seconds):
    began = time.monotonic()
    time.sleep(seconds)
    select.select([], [], [], seconds)
    threading.Event().wait(seconds)
    threading.Lock().acquire(timeout=seconds)
    return time.monotonic() - began


class Blocking(Antagonist):
    in_company = True

    def round(self, dice):
        data = dice.randbytes(dice.randrange(1, 300_000))
        expect(pipe(data) == data, "a pipe lost data")
        expect(sockets(data) == data, "a socket lost data")
        seconds = dice.random() / 200
        taken = waits(seconds)
        expect(taken >= 3 * seconds, f"waits of {3 * seconds:.4f} s in all took {taken:.4f} s: one was cut short")
        if dice.random() < 0.1:
            expect(subprocess.check_output(["echo", "alive"]) == b"alive\n", "a child's output is not its own")
