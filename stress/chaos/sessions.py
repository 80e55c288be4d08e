"""The one session of the process, for all who start and stop it.

Profiles are judged when the witness has come to rest: 3.13t judges a hundred times more slowly beside its threads.
"""

import threading
from collections import Counter

import spprof

from stress import law

INTERVAL_MS = 0.1  # the fastest that there is
REFUSALS = ("a session is already active", "no timer could be made")
EXAMPLES = 3


def without_guests(stack, guests):
    """What is below the first guest."""
    for level, (name, filename, _) in enumerate(stack):
        if (filename, name) in guests:
            return stack[:level]
    return stack


class Sessions:
    def __init__(self, mode):
        self.mode = mode
        self.lock = threading.Lock()
        self.profiles = []  # not judged yet
        self.sums = Counter()  # of the counters of all sessions, and of what was judged
        self.dropped = Counter()
        self.wrong = []
        self.examples = []

    def start(self):
        """Starts one unless one is active, or there is no timer for it."""
        try:
            spprof.start(interval_ms=INTERVAL_MS, mode=self.mode)
        except RuntimeError as error:
            if not str(error).startswith(REFUSALS):
                raise

    def stop(self):
        try:
            profile = spprof.stop()
        except RuntimeError as error:
            if not str(error).startswith("no session is active"):
                raise
        else:
            with self.lock:
                self.profiles.append(profile)

    def judge(self, bench, guests):
        """`bench` judges stacks of the threads that it has a role for; `guests` may stand on top of any of them."""
        while self.profiles:
            self.judge_profile(self.profiles.pop(), bench, guests)

    def judge_profile(self, profile, bench, guests):
        stats, names, counts, weights = profile.stats, profile.threads, Counter(), 0
        for record in profile.records():
            counts[names[record.thread].native_id, record.node] += 1
            weights += record.weight
        self.keep_law(stats, weights)
        for name in ("ticks", "captured", "handler_runs", "unguarded_ticks", "threads", "threads_refused"):
            self.sums[name] += stats[name]
        self.sums["sessions"] += 1
        self.dropped.update(stats["dropped"])
        for (tid, node), count in counts.items():
            if tid in bench.roles:
                self.judge_stack(profile.tree, bench, guests, (tid, node, count))

    def keep_law(self, stats, weights):
        self.wrong.extend(f"law: {found}" for found in law.broken(stats))
        if weights != stats["captured"]:
            self.wrong.append(f"law: the samples weigh {weights}, captured were {stats['captured']}")

    def judge_stack(self, tree, bench, guests, sampled):
        tid, node, count = sampled
        frames = [tree.frames[step] for step in tree.path(node)]
        stack = without_guests(tuple((frame.name, frame.filename, frame.line) for frame in frames), guests)
        self.sums["judged"] += count
        if not bench.possible(tid, stack):
            self.sums["impossible"] += count
            if len(self.examples) < EXAMPLES:
                shown = " ".join(f"{name}:{line}" for name, _, line in stack[-12:]) or "(no frame)"
                self.examples.append(f"{bench.roles[tid]}: {shown}")

    def findings(self):
        return {
            **{name: self.sums[name] for name in ("sessions", "ticks", "captured", "judged", "impossible")},
            **{name: self.sums[name] for name in ("handler_runs", "unguarded_ticks", "threads", "threads_refused")},
            "dropped": dict(self.dropped),
            "law": not self.wrong,
            "wrong": self.wrong[:EXAMPLES],
            "examples": self.examples,
        }
