"""What can call what, from which line: known from the text of a program, not from the program that runs.

An oracle is a Grammar: it takes a whole stack, a list of (function, line) from the thread's first function to the
innermost, and says whether the program could ever be there. A caller must stand on a line that calls the next frame;
the innermost frame may stand on any line of its function. None of this knows how a stack is read.
"""

import ast
from collections import defaultdict

# The line of an instruction that the compiler gave none. Only ever seen on the innermost frame.
NO_LINE = 0


class Source:
    """The functions of a source text: their lines, and the lines on which they call."""

    def __init__(self, text):
        self.bodies = {}
        self.nodes = {}
        tree = ast.parse(text)
        self.bodies["<module>"] = range(0, len(text.splitlines()) + 2)
        self.nodes["<module>"] = tree
        self._find(tree, "")

    @classmethod
    def of_file(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(file.read())

    def _find(self, node, prefix):
        for child in ast.iter_child_nodes(node):
            name = self._name(child)
            if name is None:
                self._find(child, prefix)
                continue
            qualname = prefix + name
            # A decorated function begins on the line of its first decorator.
            first = min(part.lineno for part in (child, *getattr(child, "decorator_list", ())))
            inner = ".<locals>."
            if isinstance(child, ast.ClassDef):
                inner = "."
            if qualname in self.bodies:  # two of one name (<genexpr>): either may be meant
                old = self.bodies[qualname]
                self.bodies[qualname] = range(min(old.start, first), max(old.stop, child.end_lineno + 1))
            else:
                self.bodies[qualname] = range(first, child.end_lineno + 1)
                self.nodes[qualname] = child
            self._find(child, qualname + inner)

    @staticmethod
    def _name(node):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return node.name
        if isinstance(node, ast.Lambda):
            return "<lambda>"
        if isinstance(node, ast.GeneratorExp):
            return "<genexpr>"
        return None

    def _own_nodes(self, qualname):
        """What belongs to the function itself and not to a function inside it."""
        waiting = [self.nodes[qualname]]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += [child for child in ast.iter_child_nodes(node) if self._name(child) is None]

    def lines(self, qualname, via):
        """Lines of the function that call `via`: a name, or one of for, await, yield from, with."""
        found = {line for node in self._own_nodes(qualname) for line in lines_via(node, via)}
        assert found, f"{qualname} has no line with {via}: the oracle's text is not the program's"
        return found


def called_name(node):
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", None) or getattr(node.func, "attr", None)
    return None


def lines_via(node, via):
    statements = {"await": ast.Await, "yield from": ast.YieldFrom}
    if via == "for" and isinstance(node, ast.For):
        yield node.iter.lineno
    elif via == "with" and isinstance(node, ast.With):
        yield node.lineno
    elif isinstance(node, statements.get(via, ())) or called_name(node) == via:
        yield node.lineno


class Grammar:
    def __init__(self):
        self.bodies = {}
        self.edges = defaultdict(set)  # (caller, line) -> callees

    def add(self, source, calls=()):
        """Takes in the functions of a Source, and `calls`: (caller, callee) where a line names the callee, or (caller,
        callee, via) where it is called through something else."""
        self.bodies.update(source.bodies)
        for caller, callee, *via in calls:
            name = via[0] if via else callee.rpartition(".")[2]
            for line in source.lines(caller, name):
                self.edges[caller, line].add(callee)

    def calls(self, caller, line, callee):
        return callee in self.edges.get((caller, line), ())

    def stands(self, function, line):
        body = self.bodies.get(function)
        return body is not None and (line in body or line == NO_LINE)

    def possible(self, stack, entry):
        if not stack or stack[0][0] != entry or not self.stands(*stack[-1]):
            return False
        return all(
            self.calls(caller, line, callee) for (caller, line), (callee, _) in zip(stack, stack[1:], strict=False)
        )
