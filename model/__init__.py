"""Reference models: what the C core must do, in plain Python that can be read as its specification.

They share no code and no tables with the core, and know nothing of ctypes. The tests (tests/test_model_*.py) let
Hypothesis drive each model and the core side by side. One file for each part, named as the core's.

Beside them is what `ninja model` judges: litmus/ (memory orders), proofs/ (bounds) and lifecycle/ (start to stop).
"""

# The outcomes of a tick, as core/reasons.c names them and in its order.
OUTCOMES = (
    "captured",
    "bounds",
    "alignment",
    "type",
    "owner",
    "progress",
    "cycle",
    "fault",
    "code_range",
    "torn",
    "incomplete",
    "detached",
    "no_thread_state",
    "ring_full",
    "busy",
    "throttled",
    "stack_unknown",
    "no_memory",
)
