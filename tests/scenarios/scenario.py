"""How a scenario hands its result to the test that started it."""

import json
import os
import sys
import sysconfig


def gil_enabled():
    """Whether the GIL is on, spprof imported; on a free-threaded build that would void any result."""
    import spprof  # noqa: F401 (the import is what could turn the GIL on)

    enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not enabled, "the GIL is on in a free-threaded interpreter: importing spprof must leave it off"
    return enabled


def result(**fields):
    """Hands the fields over as one JSON object, with `gil_enabled` added. The last call counts."""
    text = json.dumps({"gil_enabled": gil_enabled(), **fields})
    path = os.environ.get("SPPROF_RESULT")
    if path is None:  # run by hand
        print(text)
        return
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)
