"""Sessions that come and go, threads that come and go, and rings that nobody empties."""

import pytest
import support
import synthetic

from stress import law

REOPENED = support.amount(20_000)
CYCLES = support.amount(1000)
THREADS = support.amount(350)
CHURN_CYCLES = support.amount(600)
CHURNED = support.amount(130)  # threads that come and go beside those cycles


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """What makes the kernel one without high-resolution timers."""
    return synthetic.preload(tmp_path_factory.mktemp("native"), "coarse.c")


def test_a_thousand_sessions_leave_nothing_behind(freethreaded):
    found = freethreaded.run("lifecycle", CYCLES).json
    assert found["laws"] == 2 * CYCLES, "a snapshot broke ticks = captured + losses"
    assert found["captured"] > 0
    assert found["timers_during"] >= 5, "the timers' list does not show ours: it proves nothing afterwards"
    assert found["timers"] == 0
    assert found["arrived"] == 0, "a signal of ours arrived after the session"
    before, after = found["threads"]
    assert after == before
    before, after = found["files"]
    assert after == before
    assert all(found["rounds"])


def test_sessions_start_and_stop_while_code_and_threads_come_and_go(freethreaded):
    found = freethreaded.run("churn", CHURN_CYCLES, CHURNED, "cpu").json
    assert found["laws"] == found["done"] >= CHURN_CYCLES
    assert found["captured"] > 0
    assert found["made"]["codes"] > CHURN_CYCLES and found["made"]["threads"] >= CHURNED, "nothing came and went"


def test_misuse_is_refused_clearly(freethreaded):
    found = freethreaded.run("lifecycle", 1).json
    assert found["second_start"] == "a session is already active; stop it first"
    assert found["idle_stop"] == "no session is active; start one first"


def test_threads_are_born_and_die_within_a_session(freethreaded):
    found = freethreaded.run("births", THREADS).json
    stats = found["stats"]
    assert law.broken(stats) == []
    assert stats["threads"] > THREADS * 0.9, "threads that lived 20 ms of CPU time were not discovered"
    assert stats["threads_refused"] == 0
    assert found["sampled"] > THREADS * 0.5
    assert found["timers_late"] <= 2, "threads that had died kept their timers"
    assert found["timers"] == 0


def test_each_thread_that_gets_no_timer_is_counted_once(freethreaded, coarse):
    """Of forty, twenty end before the others begin, and those get theirs later. By CPU timers, which a thread must have."""
    found = freethreaded.run("refused", env=coarse).json
    assert (found["first"], found["both"], found["refused"]) == (20, 40, 40)
    assert found["threads"] == 21, "those that had to wait were not sampled later"


@pytest.mark.parametrize("mode", ["cpu", "wall"])
def test_threads_that_get_no_timer_are_looked_at_from_outside(freethreaded, mode):
    found = freethreaded.run("untimed", mode, 2000).json
    stats = found["stats"]
    assert not law.broken(stats) and stats["threads_refused"] == 0
    assert stats["unasked_ticks"] > 0 and stats["captured"] > 0.8 * stats["ticks"], stats
    workers = [ticks for name, ticks in found["shown"].items() if name.startswith("worker-")]
    assert len(workers) == found["hot"] and all(workers), found["shown"]
    assert all(found["rounds"])


@pytest.fixture(scope="module")
def burner(tmp_path_factory):
    return synthetic.shared(tmp_path_factory.mktemp("native"), "pool.c")


def test_time_of_the_process_is_accounted_for(freethreaded, burner):
    """What is due is what the sampled threads used; the rest is the profiler's, or of threads that it could not see."""
    found = freethreaded.run("accounts", burner, 4, 100, 200).json
    stats = found["stats"]
    assert law.broken(stats) == []
    assert stats["threads"] == 6 and stats["ticks"] >= 500
    assert stats["own_cpu_s"] > 0
    assert sum(found["threads"]) == pytest.approx(stats["watched_cpu_s"])
    assert sorted(found["threads"])[1:] == [pytest.approx(0.1, abs=0.02)] * 5, "each has used a tenth of a second"
    unseen = stats["process_cpu_s"] - stats["watched_cpu_s"] - stats["own_cpu_s"]
    assert found["unseen"] <= unseen <= found["unseen"] + 0.1, stats


def test_kernel_without_fine_timers_says_how_fine_ticks_are(freethreaded, coarse):
    found = freethreaded.run("capture", 1000, env=coarse).json
    assert not law.broken(found["stats"]) and found["stats"]["clock_step_ms"] >= 1
    assert found["stats"]["captured"] >= 0.99 * found["stats"]["ticks"]
    found = freethreaded.run("capture", 1000).json
    assert found["stats"]["clock_step_ms"] == 0


@pytest.mark.parametrize("mode", ["cpu", "wall"])
def test_session_takes_none_of_the_programs_descriptors(freethreaded, mode):
    """Its thread has a table of its own, an empty one."""
    found = freethreaded.run("descriptors", mode, REOPENED).json
    assert found["own"] == [0]
    assert found["wrong"] == 0
    assert found["born"] >= 40 and found["threads"] > 1


def test_full_rings_lose_samples_and_count_them(freethreaded):
    support.ninja("library")
    outcome = freethreaded.run("ring_full", env={"SPPROF_LIBRARY": support.BUILD / "libspprof.so"})
    found = outcome.json
    stats = found["stats"]
    assert stats["by_reason"]["ring_full"] >= 100
    assert stats["ticks"] == sum(stats["by_reason"].values())
    assert 0 < found["drained_live"] <= found["drained"] == stats["samples"]
    assert found["drained_weight"] == stats["by_reason"]["captured"]
    assert found["deepest"] == 16


def another_interpreter():
    import _interpreters
    import spprof
    from scenario import result

    spprof.start(interval_ms=1)
    other = _interpreters.create("legacy")
    refused = _interpreters.exec(other, "import spprof\nspprof.start()")
    _interpreters.destroy(other)
    goes_on = spprof.is_active()
    result(goes_on=goes_on, refused=str(refused), stats=spprof.stop().stats)


@pytest.mark.parametrize("name", ["3.13", "3.14"])
def test_interpreter_that_was_refused_a_session_does_not_end_the_others(interpreter, name):
    """Only where the extension may be loaded by several: with the GIL, in interpreters that share it."""
    found = interpreter(name).run(another_interpreter).json
    assert "a session is already active" in found["refused"]
    assert found["goes_on"]


def test_a_profiles_memory_goes_back_to_the_kernel_with_it(freethreaded):
    found = freethreaded.run("profile_memory").json
    assert found["samples"] > 0
    assert found["before"] == [True, True]
    assert found["after"] == [False, False], "the interpreter's allocator has kept it"
    assert found["same"], "a pickled profile is another"
