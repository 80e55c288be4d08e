"""The threads of a workload: how they begin, how they are told to end, and who is who."""

import _thread
import threading
import time


class Stage:
    def __init__(self, mode):
        self.mode = mode  # storm, cpu, wall or none: how the threads are looked at
        self.over = False
        self.roles = {}  # the kernel's id of a thread -> its role
        self.ended = 0
        self.ended_lock = threading.Lock()

    def enter(self, role):
        """A thread's first call."""
        self.roles[threading.get_native_id()] = role

    def leave(self):
        """A thread's last call."""
        with self.ended_lock:
            self.ended += 1

    def raise_curtain(self, threads):
        """Starts the workload's threads without the frames that the threading module would put below them."""
        for role, function in threads:
            _thread.start_new_thread(function, (self, role))
        self.wait_until(lambda: len(self.roles) == len(threads))

    def drop_curtain(self):
        self.over = True
        self.wait_until(lambda: self.ended == len(self.roles))

    def wait_until(self, condition):
        limit = time.monotonic() + 60
        while not condition():
            if time.monotonic() > limit:
                raise SystemExit("the workload's threads did not begin or end within 60 s")
            time.sleep(0.005)
