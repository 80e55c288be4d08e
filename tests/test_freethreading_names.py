"""Names: a sample names the function that ran, even if it is dead by now and its address another's."""

import support

FUNCTIONS = support.amount(20_000)
# Samples wait in their rings for a look, which comes every 10 ms at this interval: dozens of functions die meanwhile.
INTERVAL_NS = 10_000_000


def check_names(outcome, least):
    found = outcome.json
    assert found["wrong_count"] == 0, found["wrong"]
    assert found["unknown"] == 0
    assert found["right"] >= least, "too few samples of dead functions to prove anything"
    assert found["used_again"] > 100, "no address was used again: the allocator did not put names to the test"


def test_functions_that_died_keep_their_names(freethreaded):
    check_names(freethreaded.run("names", FUNCTIONS, INTERVAL_NS), 50)


def test_short_form_on_the_pre_release(interpreter):
    check_names(interpreter("3.15t").run("names", FUNCTIONS // 4, INTERVAL_NS), 10)
