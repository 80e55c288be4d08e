"""Results as they are kept and told."""

import contextlib
import json
import os


def write_whole(path, value, indent=1):
    """`value` as JSON, whole or not at all; what was there before stays until then."""
    path = os.path.abspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    new = f"{path}.{os.getpid()}"
    try:
        with open(new, "w") as file:
            json.dump(value, file, indent=indent)
            file.write("\n")
        os.replace(new, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)


def bound(number, impossible):
    """What is known of the rate of the impossible among so many, at 95 %."""
    if number == 0:
        return "-"
    return f"<= {3 / number:.1e}" if impossible == 0 else f"{impossible / number:.1e}"
