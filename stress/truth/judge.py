"""Judges every distinct stack that was seen by the workload's oracle."""

from collections import Counter

from grammar import Grammar, Source

EXAMPLES = 5


def main_oracle(program, calls, entry):
    """An oracle of the thread that only waits: from the program's own text."""
    grammar = Grammar()
    grammar.add(Source.of_file(program), calls)
    return lambda stack: grammar.possible(stack, entry)


class Bench:
    def __init__(self, workload, roles, main_tid, main_possible, main_file):
        self.workload = workload
        self.roles = roles
        self.main_tid = main_tid
        self.main_possible = main_possible
        self.main_file = main_file
        self.verdicts = {}

    def possible(self, tid, stack):
        """`stack`: tuple of (qualname, filename, line), from the thread's first function to the innermost."""
        is_main = tid == self.main_tid
        role = "main" if is_main else self.roles.get(tid)
        key = role, stack
        if key not in self.verdicts:
            self.verdicts[key] = self._judge(is_main, role, stack)
        return self.verdicts[key]

    def _judge(self, is_main, role, stack):
        bare = [(qualname, line) for qualname, _, line in stack]
        if not self._files_fit(stack):
            return False
        if not is_main:
            return self.workload.possible(role, bare)
        below = self.workload.below_guests(bare)
        return below is not None and self.main_possible(below)

    def _files_fit(self, stack):
        return all(
            filename in self.workload.files
            or filename == self.main_file
            or (qualname.startswith("Stage.") and filename.endswith("stage.py"))
            for qualname, filename, _ in stack
        )


def families_of(bench, counted):
    """How often each family was seen on the workload's threads. Impossible stacks belong to none."""
    families = Counter()
    for count, tid, stack in counted:
        role = bench.roles.get(tid)
        if role is not None and bench.possible(tid, stack):
            family = bench.workload.family(role, [(qualname, line) for qualname, _, line in stack])
            if family is not None:
                families[family] += count
    return dict(families)


def judge(bench, counted):
    """`counted`: list of (count, thread id, stack). Returns a dictionary of what was found."""
    captured = impossible = empty = waiting = 0
    wrong = Counter()
    for count, tid, stack in counted:
        captured += count
        waiting += count if tid == bench.main_tid else 0
        if not bench.possible(tid, stack):
            impossible += count
            empty += count if not stack else 0
            wrong[bench.roles.get(tid, "main" if tid == bench.main_tid else "?"), stack] += count
    return {
        "captured": captured,
        "impossible": impossible,
        "waiting": waiting,  # of those captured: of the thread that only waits
        "impossible_empty": empty,  # of these: no frame at all, of a thread that always has some
        "distinct": len(bench.verdicts),
        "families": families_of(bench, counted),
        "examples": [
            {"count": count, "thread": role, "stack": [f"{name}:{line}" for name, _, line in stack]}
            for (role, stack), count in wrong.most_common(EXAMPLES)
        ],
    }


def stacks_of(result, rows="rows"):
    """[(count, thread id, stack)] of what the driver's stop() returned. Stacks that differ in instructions alone are one."""
    numbers, names, same = [], [], {}
    for parent, qualname, filename, line in result["nodes"]:
        key = (numbers[parent] if parent >= 0 else -1, qualname, filename, line)
        if key not in same:
            same[key] = len(names)
            above = names[key[0]] if parent >= 0 else ()
            names.append((*above, key[1:]))
        numbers.append(same[key])
    counts = Counter()
    for count, tid, node in result[rows]:
        counts[tid, numbers[node] if node >= 0 else -1] += count
    return [(count, tid, names[node] if node >= 0 else ()) for (tid, node), count in counts.items()]
