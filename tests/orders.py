"""What each order site of the core is compiled to.

The core is compiled to assembly with marks before and after each access that core/atomics.h makes; what stands between
two marks of a site is judged by the order that the site must have. Knows nothing of pytest.
"""

import functools
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import support

CORE = support.ROOT / "core"
USERS = [path for path in sorted(CORE.rglob("*.c")) if '#include "atomics.h"' in path.read_text()]
HEADERS = {path.name: path.read_text() for path in CORE.rglob("*.h")}

# Of each architecture: what compiles for it, and the ways to ask for it. From ARMv8.3 on, an acquire load may be ldapr.
COMPILERS = {
    "x86_64": (("gcc", "-O2"), ("clang", "-O2")),
    "aarch64": (
        ("aarch64-linux-gnu-gcc", "-O2"),
        ("aarch64-linux-gnu-gcc", "-O2", "-march=armv8.3-a"),
        ("clang", "--target=aarch64-linux-gnu", "-O2"),
        ("clang", "--target=aarch64-linux-gnu", "-O2", "-march=armv8.3-a"),
    ),
}

MARKS = r"""
#include "%s"
#if defined(__aarch64__)
#define MARK(text) __asm__ volatile("//@ " text : : : "memory")
#else
#define MARK(text) __asm__ volatile("#@ " text : : : "memory")
#endif
#undef atomic_read
#undef atomic_write
#undef atomic_add
#undef atomic_subtract
#undef atomic_swap
#undef atomic_keep
#undef atomic_fence
#define BETWEEN(kind, site, access) \
    ({ MARK("begin " #kind " " #site); __auto_type value_ = (access); MARK("end"); value_; })
#define atomic_read(site, object) BETWEEN(read, site, atomic_load_explicit((object), ORDER_##site))
#define atomic_write(site, object, value) BETWEEN(write, site, (atomic_store_explicit((object), (value), ORDER_##site), 0))
#define atomic_add(site, object, value) BETWEEN(add, site, atomic_fetch_add_explicit((object), (value), ORDER_##site))
#define atomic_subtract(site, object, value) BETWEEN(add, site, atomic_fetch_sub_explicit((object), (value), ORDER_##site))
#define atomic_swap(site, object, value) BETWEEN(swap, site, atomic_exchange_explicit((object), (value), ORDER_##site))
#define atomic_keep(site, object, bits) BETWEEN(keep, site, atomic_fetch_and_explicit((object), (bits), ORDER_##site))
#define atomic_fence(site) BETWEEN(fence, site, (atomic_thread_fence(ORDER_##site), 0))
"""

# The instructions that make an order, of each architecture; `plain` is any other access to memory.
ORDERING = {
    "x86_64": re.compile(r"^\s*(lock\s*;?\s*\w+|xchg\w*|mfence)\b"),
    "aarch64": re.compile(r"^\s*(?:bl\s+)?(ldapu?r\w*|ldar\w*|stlr\w*|ldaxr\w*|ldxr\w*|stlxr\w*|stxr\w*|dmb\s+\w+"
                          r"|(?:ld|st)(?:add|set|clr)\w*|swp\w*|__aarch64_(?:ldadd|ldset|ldclr|swp)\d_\w+)\b"),
}  # fmt: skip
PLAIN = {"x86_64": re.compile(r"\(.*\)"), "aarch64": re.compile(r"^\s*(ldu?r|stu?r|ldp|stp)\w*\s.*\[")}

# What may stand between the marks, by (access, order): all that is found must match. NO_CODE: nothing may be found.
LOCKED = r"lock.*"
NO_CODE = ""
NOTHING = {
    "x86_64": "|mfence",
    "aarch64": "",
}  # generation_confirm adds nothing: clang makes a fence and a load of that
ADDITION = {
    "relaxed": r"ldadd|stadd|ldxr|stxr|__aarch64_ld(?:add|set)\d_relax",
    "release": r"ldaddl|staddl|ldsetl|ldxr|stlxr|__aarch64_ld(?:add|set)\d_rel",
    "acq_rel": r"ldaddal|ldaxr|stlxr|__aarch64_ldadd\d_acq_rel",
    "seq_cst": r"ldaddal|ldaxr|stlxr|__aarch64_ldadd\d_acq_rel",
}
WANTED = {
    "x86_64": {
        **{("read", order): r"plain" for order in ("relaxed", "acquire", "seq_cst")},
        **{("write", order): r"plain" for order in ("relaxed", "release")},
        ("write", "seq_cst"): r"xchg\w*|mfence",
        **{("add", order): LOCKED for order in ADDITION},
        ("swap", "acq_rel"): r"xchg\w*",
        ("keep", "acquire"): LOCKED,
        ("fence", "acquire"): NO_CODE,
    },
    "aarch64": {
        ("read", "relaxed"): r"plain",
        ("read", "acquire"): r"ldap?r[bh]?",
        ("read", "seq_cst"): r"ldar[bh]?",
        ("write", "relaxed"): r"plain",
        ("write", "release"): r"stlr[bh]?",
        ("write", "seq_cst"): r"stlr[bh]?",
        **{("add", order): pattern for order, pattern in ADDITION.items()},
        ("swap", "acq_rel"): r"swpal|ldaxr|stlxr|__aarch64_swp\d_acq_rel",
        ("keep", "acquire"): r"ldclra|ldaxr|stxr|__aarch64_ldclr\d_acq",
        ("fence", "acquire"): r"dmb ishld",
    },
}


@dataclass(frozen=True)
class Access:
    """One access in the compiled code."""

    site: str
    kind: str
    file: str
    instructions: tuple[str, ...]  # those that order; ("plain",) where an access to memory is all


def command_of(compiler, source, *more):
    flags = ["-std=gnu11", "-fPIC", "-S", "-o", "-", "-Wno-everything" if compiler[0] == "clang" else "-w"]
    includes = [f"-I{folder}" for folder in (CORE, CORE / "include", CORE / "ordinary")]
    if source.parent.name == "native":
        includes.append(f"-I{python_headers()}")
    return [*compiler, *flags, "-D_GNU_SOURCE=", *includes, *map(str, more), str(source)]


@functools.cache
def python_headers():
    found = subprocess.run([support.ROOT / "ci" / "python", "--existing", "3.14t"], capture_output=True, text=True)
    if found.returncode != 0:
        raise support.Missing(found.stderr.strip().splitlines()[-1])
    command = [found.stdout.strip(), "-I", "-c", "import sysconfig; print(sysconfig.get_path('include'))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def assembly(compiler, source, *more):
    if shutil.which(compiler[0]) is None:
        raise support.Missing(f"{compiler[0]} is not installed; provide it with: ci/setup")
    run = subprocess.run(command_of(compiler, source, *more), capture_output=True, text=True)
    if run.returncode != 0:
        raise support.Missing(f"{' '.join(compiler)} cannot compile {source.name}: {run.stderr.strip()[-500:]}")
    return run.stdout.splitlines()


def diagnose(warning, source):
    """What clang says of a source with that warning as an error."""
    command = [word for word in command_of(("clang",), source) if word not in ("-S", "-o", "-", "-Wno-everything")]
    return subprocess.run([*command, "-fsyntax-only", warning], capture_output=True, text=True).stderr


def ordering(lines, architecture):
    """The instructions that make an order, as a sorted list."""
    return sorted(" ".join(found[1].split()) for line in lines if (found := ORDERING[architecture].match(line)))


def accesses(lines, architecture, file):
    """Each access between two marks. One may stand within another: what is written is read first."""
    open_marks = []
    for line in lines:
        if mark := re.match(r"\s*(?://|#)@ begin (\w+) (\w+)", line):
            open_marks.append((mark[1], mark[2], []))
        elif re.match(r"\s*(?://|#)@ end", line):
            kind, site, between = open_marks.pop()
            found = ordering(between, architecture)
            touched = any(PLAIN[architecture].search(text) for text in between)
            yield Access(site, kind, file, tuple(found) or (("plain",) if touched else ()))
        elif open_marks:
            open_marks[-1][2].append(line)


def text_of(source, seen=()):
    """The source with every header of the core that it includes."""
    text = source if isinstance(source, str) else source.read_text()
    names = [name for name in re.findall(r'#include "([^"]+)"', text) if name in HEADERS and name not in seen]
    return text + "".join(text_of(HEADERS[name], {*seen, *names}) for name in names)


def users_of(site):
    """The sources that have code of the site, their own or a header's."""
    return [path for path in USERS if re.search(rf"\b\w+\({site}[,)]", text_of(path))]


def compiled(architecture, compiler, folder, atomics=CORE / "atomics.h", sources=USERS):
    """Every access of the core, as that compiler makes it."""
    marks = Path(folder) / "marks.h"
    marks.write_text(MARKS % atomics)

    def of(source):
        lines = assembly(compiler, source, "-include", marks)
        return list(accesses(lines, architecture, source.name))

    with ThreadPoolExecutor(2) as pool:
        return [access for found in pool.map(of, sources) for access in found]


def complaint(access, order, architecture):
    """What is wrong with the code of an access that must have that order, or None."""
    wanted = WANTED[architecture].get((access.kind, order))
    if wanted is None:
        return f"{access.site}: nothing is known of a {access.kind} with order {order}"
    if access.site == "generation_confirm":
        wanted += NOTHING[architecture]
    good = access.instructions and all(re.fullmatch(wanted, text) for text in access.instructions)
    if wanted == NO_CODE:
        good = access.instructions == ()
    return (
        None
        if good
        else f"{access.site} in {access.file}: {access.kind} {order} is {access.instructions}, not {wanted}"
    )
