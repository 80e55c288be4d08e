#!/usr/bin/env python3
"""Judges litmus tests: runs herd7 and compares what it observes with what each file's header states.

usage: model/litmus/judge.py [--atomics FILE] [--show] [NAME...]

Without a name, every file here is judged, and every weakening of every site of model/orders.toml. NAME is a file of
this folder, with or without .litmus, or SITE=ORDER for one weakening.

A test in C11 names its orders by the sites of core/atomics.h (ORDER_ring_publish); they are filled in from there, so
the verdict is on the orders that the core is compiled with. --atomics takes another file in its place, --show prints
the test that herd7 gets and its answer.

The header's Expected line is herd7's Observation (Never, Sometimes, Always), followed by "undefined" where the test has
a data race: C11 then promises nothing.

Exit status: 0 all as stated; 1 a verdict differs; 2 a wrong argument; 3 herd7 is missing; 4 herd7 could not read a test,
or its header states nothing; 5 nothing was run.
"""

import argparse
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from model import rows, sites
from model.rows import Row

HERE = Path(__file__).resolve().parent

LEVELS = {"c11": "rc11.cat", "aarch64": "aarch64.cat", "x86_64": "x86tso-mixed.cat"}
ALLOWED = "allowed"


class Unreadable(Exception):
    """A test whose header or sites make no sense."""


class Herd:
    """herd7 with its models."""

    def __init__(self, fetch=True):
        self.program = rows.tool("herd7", fetch)
        data = rows.run([rows.ROOT / "ci" / "model-tools", "--data", "herd7"])
        if data[0] != 0:
            raise rows.Missing(data[1].strip().splitlines()[-1])
        self.models = Path(data[1].strip()) / "herdtools7" / "herd"

    def observe(self, name, text, model):
        """(observation or None, output, seconds)"""
        folder = rows.WORK / "litmus"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.litmus"
        path.write_text(text)
        status, output, seconds = rows.run([self.program, "-set-libdir", self.models, "-model", model, path], 120)
        found = re.search(r"^Observation \S+ (\w+)", output, re.M)
        if status != 0 or found is None:
            return None, output, seconds
        undefined = ", undefined" if re.search(r"^Flag .*undef", output, re.M) else ""
        return found.group(1) + undefined, output, seconds


class Test:
    """A file of this folder: CLAIM.LEVEL.litmus, or CLAIM.LEVEL.TWIN.litmus for one that is broken on purpose."""

    def __init__(self, path):
        self.name = path.stem
        self.text = path.read_text()
        parts = self.name.split(".")
        if len(parts) not in (2, 3) or parts[1] not in LEVELS:
            raise Unreadable(f"{path.name}: the name must be CLAIM.LEVEL.litmus or CLAIM.LEVEL.TWIN.litmus")
        self.claim, self.level = parts[:2]
        self.twin = parts[2] if len(parts) == 3 else ""
        self.expected = self.header("Expected")
        if not re.fullmatch(r"(Never|Sometimes|Always)(, undefined)?", self.expected):
            raise Unreadable(f"{path.name}: it needs a line (* Expected: Never *), or Sometimes, or Always")
        self.model = self.header("Model") or LEVELS[self.level]
        self.sites = tuple(self.header("Sites").split())

    def header(self, key):
        found = re.search(rf"^\(\* {key}: (.*?) ?\*\)", self.text, re.M | re.S)
        return found.group(1) if found else ""

    def filled(self, orders):
        """The text with the orders of the sites in place of their names."""

        def order(match):
            if match.group(1) not in orders:
                raise Unreadable(f"{self.name}: core/atomics.h has no site {match.group(1)}")
            return f"memory_order_{orders[match.group(1)]}"

        return re.sub(r"ORDER_(\w+)", order, self.text)


def tests():
    """Every file here, by name."""
    return {path.stem: Test(path) for path in sorted(HERE.glob("*.litmus"))}


def models(known, claim):
    """Every C11 model that a test of the claim asks for."""
    return sorted({test.model for test in known.values() if (test.claim, test.level) == (claim, "c11")})


def judge_test(herd, known, test, orders):
    observed, output, seconds = herd.observe(test.name, test.filled(orders), test.model)
    if test.level == "c11" and not test.twin:  # a twin's model must forbid what the twin shows
        for model in set(models(known, test.claim)) - {test.model}:
            other, more, longer = herd.observe(f"{test.name}+{model}", test.filled(orders), model)
            output, seconds = output + more, seconds + longer
            observed = observed if other == observed else other
    return Row(
        test.claim, test.level, "herd7", test.expected, observed or "unreadable", test.twin, seconds,
        f"model/litmus/judge.py --show {test.name}", observed is None, detail=output,
    )  # fmt: skip


def judge_weakening(herd, known, site, order, orders):
    """One order made weaker: of the claims that name the site, one must fail in C11."""
    row = Row(site.litmus[0], "c11", "herd7", ALLOWED, "forbidden", f"{site.name} {order}",
              repeat=f"model/litmus/judge.py --show {site.name}={order}")  # fmt: skip
    for claim in site.litmus:
        test = known.get(f"{claim}.c11")
        if test is None:
            raise Unreadable(f"model/orders.toml: there is no test {claim}.c11.litmus")
        for model in models(known, claim):
            text = test.filled(orders | {site.name: order})
            observed, output, seconds = herd.observe(f"{test.name}+{site.name}={order}", text, model)
            row.seconds += seconds
            row.detail += output
            if observed is None:
                row.observed, row.unreadable = "unreadable", True
                return row
            if observed != test.expected:
                row.claim, row.observed = claim, ALLOWED
                return row
    return row


def jobs(herd, names=(), atomics=sites.ATOMICS):
    """A function for each row that is to be judged."""
    known = tests()
    orders = {site: order for site, (order, _) in sites.stated(Path(atomics).read_text()).items()}
    table = sites.table()
    weakenings = {f"{site.name}={order}": (site, order) for site in table.values() for order in site.weakened}
    wanted = [Path(name).name.removesuffix(".litmus") for name in names] or [*known, *weakenings]
    for name in wanted:
        if name in known:
            yield lambda test=known[name]: judge_test(herd, known, test, orders)
        elif name in weakenings:
            yield lambda pair=weakenings[name]: judge_weakening(herd, known, *pair, orders)
        else:
            raise ValueError(
                f"there is no test {name}; name a file of model/litmus, or SITE=ORDER of model/orders.toml"
            )


def main():
    parser = argparse.ArgumentParser(prog="model/litmus/judge.py", usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("--atomics", type=Path, default=sites.ATOMICS)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    try:
        todo = list(jobs(Herd(), options.names, options.atomics))
        with ThreadPoolExecutor(2) as pool:
            judged = list(pool.map(lambda job: job(), todo))
    except rows.Missing as missing:
        print(f"model/litmus/judge.py: {missing}", file=sys.stderr)
        return rows.MISSING
    except (Unreadable, OSError) as problem:
        print(f"model/litmus/judge.py: {problem}", file=sys.stderr)
        return rows.UNREADABLE
    except ValueError as problem:
        print(f"model/litmus/judge.py: {problem}", file=sys.stderr)
        return rows.USAGE
    for row in judged:
        if options.show:
            print(row.detail)
        if options.show or not row.holds:
            print(row.line())
    return rows.conclude(judged)


if __name__ == "__main__":
    sys.exit(main())
