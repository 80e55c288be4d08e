"""Who gets a signal, and in which order, where owners come, go, chain and leave: as without us, for every way to do so.

`tests/native/owners.c` runs a script of owners; its words for a session do nothing in a plain run. So the expected value
is what the same program does alone.
"""

import itertools
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import support
import synthetic

PROF, SEGV, BUS = int(signal.SIGPROF), int(signal.SIGSEGV), int(signal.SIGBUS)
EVERY = int(os.environ.get("OWNERS_EVERY", "13"))  # of the combinations is tried; 1: all, which takes some minutes
ENDLESS = 98  # of owners.c: a handler ran again and again
SENT = {PROF: ("raise", "queue"), SEGV: ("fault", "raise"), BUS: ("raise", "thread")}
OWNER_FLAGS = ("", "i", "io", "dh", "ui", "ir")
NEIGHBOUR_FLAGS = ("", "i", "id", "iou", "ihd", "r")
WAYS = "nmcuorljda"
CALLS = "cuo"  # ways that call the predecessor as a function

# Where the neighbour B comes in, and C; S stands for a signal.
SCENES = {
    "before": "{B} start look S stop S",
    "during": "start {B} look S look S stop S",
    "unlooked": "start {B} S look S",
    "between": "start stop {B} start look S stop S",
    "after": "start stop {B} S S",
    "two sessions": "start {B} stop start S look S",
    "given back": "start {B} look S back:B S look S",
    "given back unlooked": "start {B} look back:B {C} S look S back:C S",
    "again": "start {B} look {B} look S {B} look S stop start S",
    "three": "{B} start look {C} look S stop start look S",
    "three out of order": "start {B} look {C} look back:B S look S back:C S",
    "taken twice": "start look look {B} look look S",
}


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "owners.c", "-DPROGRAM")


def outcome(program, kind, words):
    done = subprocess.run([*support.EMULATOR, program, kind, *words], capture_output=True, text=True)
    return done.returncode, done.stdout


def scripts(number, way):
    """(owner's word or none, neighbour's flags, scene, words) of every combination."""
    owners = ["", "ignore", *(f"take:A:{one}:{flags}" for one in "nmjd" for flags in OWNER_FLAGS)]
    for owner, flags, scene, sent in itertools.product(owners, NEIGHBOUR_FLAGS, SCENES, SENT[number]):
        words = SCENES[scene].format(B=f"take:B:{way}:{flags}", C=f"take:C:{way}:i").replace("S", f"send:{sent}")
        yield owner, flags, scene, f"signal:{number} {owner} {words}".split()


def can_be_told(number, way, owner, flags, scene):
    """False for the two things that specs/signals.md says cannot be.

    A handler that calls its predecessor finds a function of ours where it would have found the default action: then a
    fault ends the process and another signal does not, whatever the handler would have done. And one that came again
    and puts back what it found, itself, is called with its own flags instead of its predecessor's.
    """
    ends_it = {PROF: "ou", SEGV: "c", BUS: "c"}[number]  # would do just that
    by_default = owner == "" or ("take" in owner and ("h" in owner[8:] or owner[7] == "d"))
    if scene == "again":
        return "h" not in flags and "o" not in flags + owner[8:] and not (by_default and way in CALLS)
    return not by_default or way not in CALLS or way in ends_it


def compared(program, number, way, every):
    known = [(scene, words) for owner, flags, scene, words in scripts(number, way)
             if can_be_told(number, way, owner, flags, scene)]  # fmt: skip
    chosen = known[:: every if not support.EMULATOR else every * 4]
    both = [(kind, words) for _, words in chosen for kind in ("plain", "sampled")]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: outcome(program, *one), both))
    return list(zip(chosen, found[::2], found[1::2], strict=True))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [PROF, SEGV, BUS])
def test_owners_get_what_they_would_get_without_us(program, number, way):
    counted = 0
    for (scene, words), plain, sampled in compared(program, number, way, EVERY):
        if plain[0] == ENDLESS:  # the program cannot live without us either
            continue
        assert sampled == plain, f"{scene}: owners {' '.join(words)}"
        counted += 1
    assert counted >= 10


# What has to come out of some, lest two programs be equal that are both wrong. B came after A; a call that is blocked for
# its own signal says b, one on the alternate stack s, one that is told why says the code.
SAMPLES = {
    "signal:27 ignore start take:B:r:d look send:raise look send:raise": (0, "B . B . end\n"),
    "signal:27 take:A:n: start take:B:c:i look send:raise stop send:raise": (0, "Bb-6 Ab . Bb-6 Ab . end\n"),
    "signal:27 take:A:n:i start take:B:c:i look send:queue": (0, "Bb-1=42 Ab-1=42 . end\n"),
    "signal:27 take:A:n:u start send:raise": (0, "Abu . end\n"),
    "signal:27 take:A:n:du start send:raise": (0, "Au . end\n"),
    "signal:27 take:A:n:o start send:raise": (0, "Abs . end\n"),
    "signal:27 take:A:n: start wait": (0, "Ab interrupted. end\n"),
    "signal:27 take:A:n:r start wait": (0, "Ab restarted. end\n"),
    "signal:27 take:A:n: start take:B:u: look send:raise": (0, "Bb Ab . end\n"),
    "signal:27 take:A:n: start direct": (0, "A . end\n"),
    "signal:27 take:A:n:ui start take:B:o:id send:raise": (0, "B-6 A-6 . end\n"),
    "signal:27 take:A:n: start take:B:o: look take:B:o: send:raise": (0, "Bb Ab . end\n"),
    "signal:27 take:A:n:h start send:raise send:raise": (-PROF, "Ab . "),
    "signal:27 start send:raise": (-PROF, ""),
    "signal:27 ignore start send:raise": (0, ". end\n"),
    "signal:27 take:A:n: start stop send:raise": (0, "Ab . end\n"),
    "signal:27 take:A:n: start take:B:o: look take:B:o: look send:raise": (0, "Bb Ab . end\n"),
    "signal:27 take:A:n: start take:B:c: look take:B:c: look back:B take:B:c: look send:raise": (0, "Bb Ab . end\n"),
    "signal:11 take:A:m:i start take:B:c:i stop start send:fault": (0, "Bb2 Ab2 . end\n"),
    "signal:11 take:A:j: start send:fault send:fault": (0, "Ab left . Ab left . end\n"),
    "signal:11 ignore start send:fault": (-SEGV, ""),
    "signal:11 ignore start send:raise": (0, ". end\n"),
    "signal:11 start send:fault": (-SEGV, ""),
    "signal:7 start send:raise": (-BUS, ""),
    "signal:11 start take:B:c:i look send:fault": (-SEGV, "Bb2 "),
    "signal:11 take:A:j:i start take:B:c:i look back:B send:fault": (0, "Ab2 left . end\n"),
}


@pytest.mark.parametrize("words", SAMPLES)
def test_owners_in_known_order(program, words):
    expected = SAMPLES[words]
    assert outcome(program, "plain", words.split()) == expected
    assert outcome(program, "sampled", words.split()) == expected


def sampled(program, words):
    return outcome(program, "sampled", words.split())


def test_owner_that_comes_between_our_look_and_our_taking(program):
    assert sampled(program, "signal:27 start take:A:n: between:take:B:c: look send:raise") == (0, "Bb Ab . end\n")
    assert sampled(program, "signal:11 take:A:n: start between:take:B:c: stop send:raise") == (0, "Bb Ab . end\n")
    gone = "signal:27 take:A:n: start take:B:c: between:back:B look send:raise look send:raise"
    assert sampled(program, gone) == (0, "Ab . Ab . end\n")


def test_owner_that_comes_while_another_is_put_back(program):
    """C has been given A as its predecessor, in the moment in which A had the signal."""
    words = "signal:11 take:A:n: start between:take:B:c:+take:C:c: stop send:raise"
    assert sampled(program, words) == (0, "Cb Ab . end\n")


def test_owner_whose_function_is_put_in_front_once_more(program):
    """Its predecessor is not known: it was there before us, and C has given the signal back to it by its own address."""
    words = "signal:27 take:A:n: start take:B:n: back:B take:A:n: look back:B send:raise"
    assert sampled(program, words)[1] == "Ab . end\n"
    words = "signal:11 take:A:m: start take:B:n: back:B take:A:m: look back:B stop send:raise"
    assert sampled(program, words)[1] == "Ab . end\n"


@pytest.mark.parametrize("way", "co")
def test_owner_that_goes_and_comes_again_while_we_take_the_signal(program, way):
    """It finds its own function, which we have put in front for it while it was gone."""
    words = f"signal:27 take:A:n: start take:B:{way}: between:back:B+take:B:{way}: look send:raise"
    plain = outcome(program, "plain", f"signal:27 take:A:n: take:B:{way}: send:raise".split())
    assert plain[1].endswith("Ab . end\n")
    assert sampled(program, words) == plain


def test_signal_that_arrives_while_its_owner_is_found_out(program):
    """It waits: C, whom we saw, is not who must have it."""
    words = "signal:27 take:A:n: start take:C:n: between:take:B:c: within look join send:raise"
    assert sampled(program, words) == (0, "Bb Cb . Bb Cb . end\n")


def test_owner_that_passes_on_while_we_take_the_signal(program):
    """The kernel has called it before we put ourselves in front, and what it calls then is not meant for whom we find."""
    words = "signal:27 take:A:n: start take:B:p:i between:elsewhere look join"
    assert sampled(program, words) == (0, "Bb-6 Ab . end\n")


def test_signal_that_is_given_back_while_its_handler_begins(program):
    """The owner is in front again by our doing: it has not come again and called its own function. It runs with its mask."""
    words = "signal:11 take:A:m:i start meanwhile:stop"
    assert sampled(program, f"{words} send:raise send:raise") == (0, "Ab-6 . Ab-6 . end\n")
    assert sampled(program, f"{words} send:fault") == (0, "Ab2 . end\n")


@pytest.mark.parametrize("number", [PROF, SEGV])
def test_owner_from_before_that_takes_the_signal_again_behind_another(program, number):
    """Each passes on to what it found first, as who keeps the first predecessor that it was given does."""
    words = f"signal:{number} take:A:n:k start take:B:c:k look take:A:n:k look take:B:c:k look send:raise".split()
    assert outcome(program, "sampled", words) == outcome(program, "plain", words)


@pytest.mark.parametrize("sent", [(PROF, "raise"), (SEGV, "raise"), (BUS, "thread")])
def test_owner_that_wants_one_signal_gets_no_more_through_one_that_came_again(program, sent):
    """B puts back its own former place, which stands for A by then; after A the default action follows."""
    number, how = sent
    words = f"signal:{number} take:A:n:dh start take:B:l: look take:B:l: look send:{how} send:{how} send:{how}"
    plain = outcome(program, "plain", words.split())
    assert plain[0] == -number
    assert sampled(program, words) == plain


def test_owner_that_ends_the_session_and_passes_on(program):
    """The function that it calls is of one that has the signal itself by then, and has not come again."""
    words = "signal:11 take:A:n: start take:B:e: send:raise"
    assert sampled(program, words) == (0, "Bb Ab . end\n")


def test_value_of_a_signal_that_is_sent_again(program):
    words = "signal:11 take:A:n:i start meanwhile:stop send:queue"
    assert sampled(program, words) == (0, "Ab-1=42 . end\n")


def test_owners_that_come_and_go_take_no_more_places(program):
    rounds = "take:B:c: look back:B look take:C:c: look back:C look take:B:n: look take:A:n: look " * 200
    words = f"signal:27 take:A:n: start {rounds} take:B:n: look send:raise"
    assert sampled(program, words) == (0, "Bb . end\n")


def test_owner_that_puts_itself_back_each_time_takes_no_more_places(program):
    """There is room for 200 others afterwards."""
    words = "signal:27 take:A:n: start take:B:r:d " + "look send:raise " * 300
    others = "".join(f"take:C:n:{n} look " for n in range(1, 201))
    assert sampled(program, words + others) == (0, "B Ab . " * 300 + "end\n")


def test_owner_that_takes_the_signal_from_itself_again_and_again(program):
    """It leaves room for others, and the next session starts."""
    words = "signal:27 take:A:n: start " + "take:B:c: look " * 600 + "send:raise stop start take:C:c: look send:raise"
    assert sampled(program, words) == (0, "Bb Ab . Cb Bb Ab . end\n")


def test_one_owner_too_many_stays_in_front(program):
    words = "signal:27 take:A:n: start " + "".join(f"take:B:c:{n} look " for n in range(1, 301))
    status, said = sampled(program, words + "send:raise stop start send:raise")
    assert status == 0
    assert said.count("full") >= 300 - 256
    assert said.replace("full ", "") == "Bb Ab . Bb Ab . end\n"


def test_our_function_put_back_without_its_flags(program):
    """As signal(2) does. Of the first signal that comes then it cannot be told whether it is a tick, so it ends nothing."""
    assert sampled(program, "signal:27 take:A:n: start revive send:raise send:raise") == (0, "Ab . Ab . end\n")
    assert sampled(program, "signal:27 start revive send:raise send:raise") == (-PROF, ". ")
    assert sampled(program, "signal:11 start revive send:fault") == (-SEGV, "")


def test_what_an_earlier_signal_left_behind_is_not_believed(program):
    """Without SA_SIGINFO the kernel fills in nothing, and what is in that place may be a tick's."""
    words = "signal:27 take:A:n: claim start send:queue revive spoil send:queue queue"
    assert sampled(program, words) == (0, ". Ab . forgotten end\n")
