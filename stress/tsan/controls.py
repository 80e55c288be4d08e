"""Copies of the core with one thing broken on purpose. ThreadSanitizer must report each, or its silence about the core
itself means nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Control:
    name: str
    shows: str
    patches: tuple  # of (file below core/, text that is there once, text in its place)


def weakened(*sites):
    """The order sites of core/atomics.h, relaxed. `sites` are (name, order that it has)."""
    return tuple(
        ("atomics.h", f"#define ORDER_{name} memory_order_{order}", f"#define ORDER_{name} memory_order_relaxed")
        for name, order in sites
    )


CONTROLS = (
    Control(
        "ring_publish",
        "a racy ring: the head is stored without an order, so a record may be read before it is written",
        weakened(("ring_publish", "release")),
    ),
    Control(
        "ring_release",
        "a racy ring: the tail is stored without an order, so a record may be overwritten before it was read",
        weakened(("ring_release", "release")),
    ),
    Control(
        "handshake_relaxed",
        "leaving a slot orders nothing before the session's look at it",
        weakened(("leave", "release"), ("quiesce_check", "seq_cst")),
    ),
    # ThreadSanitizer executes atomic accesses in program order, whatever their order says. What release and acquire
    # would let a processor do, let the handler's look at `active` pass its store to `inside`, is written out instead.
    Control(
        "handshake_release_acquire",
        "the handler's look at the session passes its own flag, as release and acquire allow",
        (
            (
                "handler.c",
                """    atomic_add(enter_raise, &slot->inside, 1);
    return atomic_read(enter_check, &sampler.active) && atomic_read(enter_lease, &slot->lease) == lease;
""",
                """    bool current = atomic_load_explicit(&sampler.active, memory_order_acquire) &&
                   atomic_load_explicit(&slot->lease, memory_order_acquire) == lease;
    static _Atomic unsigned entries;
    if (atomic_fetch_add_explicit(&entries, 1, memory_order_relaxed) % 64 == 0)
        for (volatile int i = 0; i < 1000000; i++) /* for as long as a store may wait in its buffer */
            ;
    atomic_fetch_add_explicit(&slot->inside, 1, memory_order_acq_rel);
    return current;
""",
            ),
        ),
    ),
    Control(
        "ring_freed_too_early",
        "the rings go before the session has waited for the handlers",
        (
            (
                "ordinary/session.c",
                """    atomic_write(active_write, &sampler.active, false);
    threads_end();
    give_fault_signals_back();
""",
                """    atomic_write(active_write, &sampler.active, false);
    threads_release();
    threads_end();
    give_fault_signals_back();
""",
            ),
        ),
    ),
    Control(
        "slot_let",
        "a slot's fields are not ordered before the first tick of its new thread",
        weakened(("slot_let", "release")),
    ),
)
