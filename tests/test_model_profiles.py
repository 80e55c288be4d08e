"""The profiles of Hypothesis: four fixed ones, and a clear word about any other."""

import os
import subprocess
import sys

import profiles
import pytest
import support
from hypothesis import settings


def collect(profile):
    """What pytest says when it only collects a file, under that profile."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/test_model_profiles.py"]
    environment = {**os.environ, profiles.VARIABLE: profile}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=support.ROOT)
    return run.returncode, run.stdout + run.stderr


def test_unknown_profile_is_one_clear_line():
    status, said = collect("fast")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert said.strip() == "ERROR: HYPOTHESIS_PROFILE is 'fast'; it must be one of dev, emulated, ci, long (unset: ci)"


@pytest.mark.parametrize("name", ["", *profiles.PROFILES])
def test_known_profile_is_taken(name):
    assert collect(name)[0] == 0


def test_which_repeat_their_examples_and_time_never_decides():
    profiles.load()
    for name, profile in profiles.PROFILES.items():
        loaded = settings.get_profile(name)
        assert (loaded.deadline, loaded.print_blob) == (None, True)
        assert loaded.derandomize == profile.repeats == (name in ("emulated", "ci"))
        assert loaded.max_examples == profile.examples
