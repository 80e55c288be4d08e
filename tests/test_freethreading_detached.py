"""CPU time in C code that has detached its thread state belongs to the Python stack that called it."""

from stress import law


def test_detached_time_lands_on_its_caller(freethreaded):
    found = freethreaded.run("detached", 4000).json
    for name in ("hash_data", "compress_data", "squeeze_data"):
        count = found["counts"][name]
        assert count["detached"] >= 0.7 * sum(count.values()), (name, count)
        assert count["detached"] > 100, (name, count)
    python_only = found["counts"]["python_only"]
    assert python_only["attached"] > 100
    assert python_only["detached"] <= 0.01 * sum(python_only.values()), "Python code was marked as detached"
    assert found["strays"] == [], "detached time landed on a stack that called none of the functions"
    stats = found["stats"]
    assert law.broken(stats) == []
