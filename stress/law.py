"""What must hold of a session's counters when it is over, whatever the program did."""


def broken(stats):
    """What does not hold of them (`spprof.Stats`, of a session that has been stopped), a line each."""
    found = []
    dropped = sum(stats["dropped"].values())
    if stats["ticks"] != stats["captured"] + dropped:
        found.append(f"{stats['ticks']} ticks are not {stats['captured']} captured + {dropped} dropped")
    process, watched, own = (stats[f"{whose}_cpu_s"] for whose in ("process", "watched", "own"))
    each = stats["interval_ms"] / 1000  # an old thread that has hardly run is taken for a new one
    if watched + own > process + stats["threads"] * each:
        found.append(f"{watched} s of threads and {own} s of the profiler are more than the process's {process} s")
    if stats["mode"] == "cpu" and not stats["clock_step_ms"]:
        due = watched * 1000 / stats["interval_ms"]
        ticks = stats["ticks"] + stats["ticks_in_progress"]
        if abs(due - ticks) > stats["threads"]:
            found.append(f"{due:.1f} ticks were due on {stats['threads']} threads, and there are {ticks}")
    return found
