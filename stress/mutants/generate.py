"""Faults made by rule, one for each place in a C file that a rule fits: other comparisons, boundaries, operators and
constants, statements left out. Comments, strings and preprocessor lines are passed over."""

import re

from workshop import ROOT, Mutant

# What is given faults, and what has to notice them.
KILLERS = {
    "core/walk.c": "tests/test_walk.py tests/test_observe.py tests/test_handler_side.py",
    "core/load.c": "tests/test_load.py tests/test_observe.py tests/test_handler_side.py",
    "core/ring.c": "tests/test_ring.py",
}

# Binary operators stand between spaces: clang-format sees to that.
SWAPS = {
    "==": ("!=",), "!=": ("==",), "<": ("<=", ">="), "<=": ("<",), ">": (">=", "<="), ">=": (">",),
    "+": ("-",), "-": ("+",), "*": ("+",), "/": ("*",), "&&": ("||",), "||": ("&&",), "&": ("|",), "|": ("&",),
    "<<": (">>",), ">>": ("<<",), "+=": ("-=",), "|=": ("=",), "&=": ("=",),
}  # fmt: skip
OPERATOR = re.compile(
    r"(?<=[\w)\]] )(" + "|".join(re.escape(word) for word in sorted(SWAPS, key=len)[::-1]) + r")(?= )"
)
NUMBER = re.compile(r"(?<![\w.\"])\d+(?=u?\b)")
NEGATION = re.compile(r"!(?=[\w(])")
STEP = re.compile(r"\+\+")
STATEMENT = re.compile(r"^ +((?:return\b|break\b|continue\b|[\w*>.\[\]-]+ [|&+-]?= |\*?\w+\()[^;{}]*;)$", re.M)
DECLARATION = re.compile(r"(?:return \w+;\n}|\bstruct\b|\bbool\b|uint\w+ )")


def masked(text):
    """The text with blanks for all that no rule applies to, and every character where it was."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    text = re.sub(r"/\*.*?\*/|//[^\n]*", blank, text, flags=re.S)
    text = re.sub(r"^#[^\n]*(?:\\\n[^\n]*)*", blank, text, flags=re.M)
    text = re.sub(r"__builtin_expect(\([^()]*), [01]\)", lambda match: f"{'':16}{match.group(1)}   )", text)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', blank, text)


def changes(text):
    """(position, old, new) of every fault, in no order."""
    code = masked(text)
    for match in OPERATOR.finditer(code):
        for new in SWAPS[match.group()]:
            yield match.start(), match.group(), new
    for match in NUMBER.finditer(code):
        value = int(match.group())
        yield match.start(), match.group(), str(value + 1)
        if value > 1:
            yield match.start(), match.group(), str(value - 1)
    for match in NEGATION.finditer(code):
        yield match.start(), "!", ""
    for match in STEP.finditer(code):
        yield match.start(), "++", "--"
    for match in STATEMENT.finditer(code):
        last = code[match.end() :].startswith("\n}")  # a function's last return cannot be left out
        if not (last and match.group(1).startswith("return")) and not DECLARATION.match(match.group(1)):
            yield match.start(1), text[slice(*match.span(1))], ";"


def line_of(text, position):
    """The line at a position, without the blanks around it."""
    start = text.rfind("\n", 0, position) + 1
    return text[start : text.find("\n", position)].strip()


def mutants():
    """Every one, in the order of the files."""
    made = []
    for file, killer in KILLERS.items():
        text = (ROOT / file).read_text()
        seen = {}
        for position, old, new in sorted(changes(text)):
            number = text.count("\n", 0, position) + 1
            what = "removed" if new == ";" else f"{old}>{new or 'nothing'}"
            name = f"{file}:{number}:{what}"
            seen[name] = seen.get(name, 0) + 1
            identity = name if seen[name] == 1 else f"{name}:{seen[name]}"
            made.append(Mutant(identity, file, old, new, killer, at=position))
    return made


def sample(made, most):
    """`most` of them at even distances, the same ones each time."""
    if most >= len(made):
        return made
    return [made[i * len(made) // most] for i in range(most)]
