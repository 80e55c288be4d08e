"""Line numbers: what the program is known to spend its time on is what the samples say."""

import support


def check_lines(outcome):
    found = outcome.json
    assert found["all_outside"] == [], "a line outside its function"
    on_statement = sum(count["on_statement"] for count in found["counts"].values())
    total = sum(sum(count.values()) for count in found["counts"].values())
    for name, count in found["counts"].items():
        assert count["on_statement"] > 20, f"{name} was hardly sampled"
    assert on_statement >= 0.995 * total, found["lines_elsewhere"]


def test_samples_carry_the_line_of_the_hot_statement(freethreaded):
    check_lines(freethreaded.run("lines", support.amount(4000)))
