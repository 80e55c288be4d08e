"""What runs a target: a module with VARIANTS, HANG_SECONDS, instances_of, planted_instance, kept_inputs, stability,
minimise and minimise_corpus."""

import afl
import atheris_engine

ENGINES = {"c": afl, "python": atheris_engine}


def of(target):
    return ENGINES[target.language]
