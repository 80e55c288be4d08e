"""The order sites: what core/atomics.h says of them, and what model/orders.toml does."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ATOMICS = ROOT / "core" / "atomics.h"
TABLE = ROOT / "model" / "orders.toml"

DEFINITION = re.compile(r"^#define ORDER_(\w+) memory_order_(\w+)[ \t]*(?:/\*(.*?)\*/)?", re.M | re.S)


@dataclass(frozen=True)
class Site:
    """One entry of orders.toml."""

    name: str
    access: str
    order: str
    litmus: tuple[str, ...]
    pair: tuple[str, ...] = ()
    outside: str = ""
    weakened: tuple[str, ...] = ()
    premise: str = ""


def table(path=TABLE):
    """Every site of orders.toml, by name."""
    entries = tomllib.loads(path.read_text())
    return {name: Site(name, **{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()})
            for name, entry in entries.items()}  # fmt: skip


def stated(header):
    """{site: (order, comment)} as the text of atomics.h states them."""
    return {name: (order, comment.strip()) for name, order, comment in DEFINITION.findall(header)}


def weaken(header, site, order):
    """The text of atomics.h with another order at that site."""
    text, count = re.subn(rf"(#define ORDER_{site} memory_order_)\w+", rf"\g<1>{order}", header)
    if count != 1:
        raise ValueError(f"core/atomics.h defines ORDER_{site} {count} times; it must be once")
    return text
