"""Threads born and dying as fast as they can be, with and without the threading module's frames below them.

A thread has no frames for a moment after its birth and before its end. The module's own functions are judged by the
module's text: a caller stands on a line that names what it calls."""

import _thread
import _weakrefset
import ast
import threading

from grammar import NO_LINE, Grammar, Source, called_name

from workloads import Workload, own_calls

LIBRARY = {threading.__file__, _weakrefset.__file__}
ALIVE = 6
REMOVAL = "WeakSet.__init__.<locals>._remove"


def live(number):
    total = 0
    for part in range(number * 40):
        total += part
    return total


def bare_child(room, number):
    live(number)
    room.release()


def module_child(room, number):
    live(number)
    room.release()


def bear_bare(stage, role):
    stage.enter(role)
    rooms = [_thread.allocate_lock() for _ in range(ALIVE)]
    while not stage.over:
        for number, room in enumerate(rooms):
            room.acquire()
            _thread.start_new_thread(bare_child, (room, number))
    for room in rooms:
        room.acquire()
    stage.leave()


def bear_with_module(stage, role):
    stage.enter(role)
    rooms = [_thread.allocate_lock() for _ in range(ALIVE)]
    while not stage.over:
        for number, room in enumerate(rooms):
            room.acquire()
            threading.Thread(target=module_child, args=(room, number), daemon=True).start()
    for room in rooms:
        room.acquire()
    stage.leave()


class Library(Grammar):
    """A module of the standard library, by its text: each line may call what it names."""

    def __init__(self, files):
        super().__init__()
        self.named = {}
        for file in files:
            source = Source.of_file(file)
            self.bodies.update({name: body for name, body in source.bodies.items() if name != "<module>"})
            for qualname in source.nodes:
                for node in source._own_nodes(qualname):
                    self._note(qualname, node)

    def _note(self, qualname, node):
        names = set()
        if isinstance(node, ast.With):
            names = {"__enter__", "__exit__"}
            lines = range(node.lineno, node.items[-1].context_expr.end_lineno + 1)
        elif isinstance(node, ast.Call):
            names = {called_name(node)}
            lines = range(node.lineno, node.end_lineno + 1)
        elif isinstance(node, ast.Attribute):
            names = {node.attr}  # it may be a property
            lines = range(node.lineno, node.end_lineno + 1)
        for name in names:
            for line in lines:
                self.named.setdefault((qualname, line), set()).add(name)

    def calls(self, caller, line, callee):
        *outer, name = callee.split(".")
        named = self.named.get((caller, line), ())
        return name in named or (name in ("__init__", "__new__") and bool(outer) and outer[-1] in named)


class Births(Workload):
    def __init__(self):
        super().__init__()
        self.files = {__file__, *LIBRARY}
        self.grammar = Grammar()
        self.grammar.add(
            Source.of_file(__file__),
            [
                ("bare_child", "live"),
                ("module_child", "live"),
                *own_calls("bear_bare", "bear_with_module"),
            ],
        )
        self.library = Library(sorted(LIBRARY))
        self.born_lines = Source.of_file(__file__).lines("bear_with_module", "Thread")
        self.run_lines = Source.of_file(threading.__file__).lines("Thread.run", "_target")
        self.cast("bare", bear_bare)
        self.cast("module", bear_with_module)

    def _calls(self, caller, line, callee):
        """Whether that line calls the function, in this file, in the library, or from one into the other."""
        if caller == "bear_with_module" and callee in ("Thread.__init__", "Thread.start"):
            return line in self.born_lines
        if caller == "Thread.run" and callee == "module_child":
            return line in self.run_lines
        return self.grammar.calls(caller, line, callee) or self.library.calls(caller, line, callee)

    def _chain(self, stack):
        return all(self._calls(*caller, callee) for caller, (callee, _) in zip(stack, stack[1:], strict=False)) and (
            stack[-1][1] == NO_LINE or self.grammar.stands(*stack[-1]) or self.library.stands(*stack[-1])
        )

    def possible_alone(self, role, stack):
        if role is not None:
            return bool(stack) and stack[0][0] == self.entries.get(role) and self._chain(stack)
        return not stack or (stack[0][0] in ("bare_child", "Thread._bootstrap") and self._chain(stack))

    def below_guests(self, stack):
        """A set of weak references is told of a death by whichever thread collects the garbage, which may be one that is told
        of another just then."""
        while stack and stack[-1][0] == REMOVAL:
            if not self.library.stands(*stack[-1]):
                return None
            stack = stack[:-1]
        return stack


def make():
    return Births()
