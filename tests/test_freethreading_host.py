"""The host program is left as it was: what importing takes, and foreign code inside spprof's calls."""

import pytest


def all_code_watchers_taken():
    import ctypes

    from scenario import result

    harmless = ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p)
    taken = []
    while True:
        try:
            taken.append(ctypes.pythonapi.PyCode_AddWatcher(harmless))
        except RuntimeError:
            break

    import observe
    import spprof
    import work

    before = observe.native_threads(), observe.profile_timers(), observe.open_files()
    refused = []
    for _ in range(3):
        try:
            spprof.start(interval_ms=1)
        except RuntimeError as error:
            refused.append(str(error))
    after = observe.native_threads(), observe.profile_timers(), observe.open_files()
    active = spprof.is_active()
    ctypes.pythonapi.PyCode_ClearWatcher(taken[-1])
    spprof.start(interval_ms=1)
    while spprof.stats()["captured"] < 5:
        work.loop()
    names = {frame.name for sample in spprof.stop() for frame in sample.stack}
    result(taken=len(taken), refused=refused, before=before, after=after, active=active, named="loop" in names)


def test_import_works_where_all_code_watchers_are_taken(every_interpreter):
    found = every_interpreter.run(all_code_watchers_taken).json
    assert found["taken"] > 0
    assert len(found["refused"]) == 3
    for line in found["refused"]:
        assert "code watcher" in line and "start" in line and "\n" not in line
    assert found["before"] == found["after"] and not found["active"]
    assert found["named"], "with one watcher free again it did not sample"


def what_importing_takes():
    import atexit
    import ctypes
    import re

    import observe
    from scenario import result

    harmless = ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p)

    def free(add, clear):
        """How many watchers of a kind there are left."""
        taken = []
        while True:
            try:
                taken.append(add(harmless))
            except RuntimeError:
                break
        for watcher in taken:
            clear(watcher)
        return len(taken)

    api = ctypes.pythonapi

    def world():
        status = "\n".join(observe.lines_of("/proc/self/status"))
        return {
            "code_watchers": free(api.PyCode_AddWatcher, api.PyCode_ClearWatcher),
            "dict_watchers": free(api.PyDict_AddWatcher, api.PyDict_ClearWatcher),
            "at_exit": atexit._ncallbacks(),
            "signals": re.findall(r"Sig(?:Blk|Ign|Cgt):\s*\w+", status),
            "threads": observe.native_threads(),
            "timers": observe.profile_timers(),
            "files": observe.open_files(),
        }

    before = world()
    import spprof

    after = world()
    spprof.stats()
    active = spprof.is_active()
    result(before=before, after=after, asked=world(), active=active)


def test_importing_takes_nothing(every_interpreter):
    found = every_interpreter.run(what_importing_takes).json
    assert found["before"]["code_watchers"] > 0 and found["before"]["dict_watchers"] > 0
    assert found["after"] == found["before"]
    assert found["asked"] == found["before"]
    assert not found["active"]


def hosts_with_odd_arguments():
    import pathlib
    import sys

    from scenario import result

    imported = []
    for argv in (["-m"], ["/usr/bin/spprof", "run"], [], [pathlib.Path("x")], None, 5, ("x",)):
        for name in [name for name in sys.modules if name.startswith("spprof")]:
            del sys.modules[name]
        sys.argv = argv
        import spprof

        with spprof.Profiler() as profiler:
            pass
        imported.append(type(profiler.profile).__name__)
    del sys.argv
    import spprof

    result(imported=imported, names=[name for name in spprof.__all__ if not hasattr(spprof, name)])


def test_import_works_whatever_the_arguments_are(every_interpreter):
    found = every_interpreter.run(hosts_with_odd_arguments).json
    assert found["imported"] == ["Profile"] * 7 and found["names"] == []


CALLS = ["start", "stop", "stats", "end"]


@pytest.mark.parametrize("thread", ["same", "another"])
@pytest.mark.parametrize("call", CALLS)
def test_foreign_code_may_call_spprof_inside_a_start_or_a_stop(every_interpreter, call, thread):
    found = every_interpreter.run("callbacks", "trace", call, thread, timeout=120).json
    assert found["odd"] == []
    assert found["runs"] > 0, "no foreign code ran inside"
    assert found["profiles"] > 0 and found["lawful"] and not found["active"]


def test_no_audit_hook_is_called_inside_a_start_or_a_stop(every_interpreter):
    found = every_interpreter.run("callbacks", "audit", "start", "same", timeout=120).json
    assert found["heard"] > 0, "the hook was not called at all"
    assert found["runs"] == 0 and found["profiles"] > 0
