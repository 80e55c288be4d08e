"""How many examples Hypothesis tries: one of four fixed profiles, named by HYPOTHESIS_PROFILE.

    dev       few examples, other ones each time: while something is being written. Too few to ask what is never reached
    emulated  still fewer, the same ones each time: where an emulator makes each slow
    ci        the usual one: the same checkout tries the same examples
    long      very many, other ones each time: for a night

How long an example takes never decides anything. A failure prints the line that repeats it.
"""

import os
from dataclasses import dataclass

from hypothesis import HealthCheck, settings

VARIABLE = "HYPOTHESIS_PROFILE"


@dataclass(frozen=True)
class Profile:
    examples: int  # of a test that says nothing else
    steps: int  # of a state machine's run
    repeats: bool  # whether the same examples are tried again


PROFILES = {
    "dev": Profile(20, 20, False),
    "emulated": Profile(5, 20, True),
    "ci": Profile(100, 30, True),
    "long": Profile(5000, 100, False),
}


def chosen():
    """The profile's name; ValueError with one line where there is none of that name."""
    name = os.environ.get(VARIABLE) or "ci"
    if name not in PROFILES:
        raise ValueError(f"{VARIABLE} is {name!r}; it must be one of {', '.join(PROFILES)} (unset: ci)")
    return name


def load():
    for name, profile in PROFILES.items():
        settings.register_profile(
            name,
            max_examples=profile.examples,
            stateful_step_count=profile.steps,
            derandomize=profile.repeats,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        )
    settings.load_profile(chosen())


def must_reach(wanted, reached):
    """Fails where something is never reached, unless the profile is one that tries too little for that."""
    missing = set(wanted) - set(reached)
    assert not missing or PROFILES[chosen()].examples < PROFILES["ci"].examples, (
        f"never reached: {sorted(missing)}; reached: {dict(reached)}"
    )


def examples(times):
    """Settings with that many times the profile's number of examples."""
    return settings(max_examples=max(1, round(times * settings.default.max_examples)))
