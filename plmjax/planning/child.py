"""The process that compiles for a plan: a crash of the compiler ends it and not the plan.

Reads pickled jobs from stdin and says on stdout what becomes of each, one JSON object a line.
"""

import json
import os
import pickle
import re
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax

from plmjax import experiment
from plmjax.errors import UserError
from plmjax.planning.compiling import Job
from plmjax.planning.programs import lowered
from plmjax.planning.stand_in import stand_in
from plmjax.planning.traffic import of_program

_FORMS = (
    r"Used ([\d.]+)([KMGT]?)\w* of ([\d.]+)([KMGT]?)\w* hbm",
    # Where the temporaries alone are too large, they are all that is said.
    r"HLO temporaries \(([\d.]+)([KMGT]?)\w*\) exceeds available HBM \(([\d.]+)([KMGT]?)\w*\)",
)
_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def main() -> None:
    """Does the jobs in order."""
    # The compiler and its libraries print as they like; what the parent reads is kept apart.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jax.config.update("jax_enable_compilation_cache", False)
    devices: dict[Any, list[jax.Device]] = {}
    for number, job in enumerate(pickle.load(sys.stdin.buffer)):
        for answer in _answers(job, devices):
            answers.write(json.dumps({"job": number, **answer}) + "\n")
            answers.flush()
        jax.clear_caches()


def _answers(job: Job, devices: dict[Any, list[jax.Device]]) -> Iterator[dict[str, Any]]:
    yield {"event": "started"}
    try:
        if job.topology not in devices:
            devices[job.topology] = list(job.topology.describe().devices)
        found = devices[job.topology]
        begin = time.perf_counter()
        plan = experiment.build(job.settings, found, tokenizer=stand_in(job.settings.corpus))
        program = lowered(plan, job.program)
        traced = time.perf_counter()
        compiled = program.compile()
        ended = time.perf_counter()
    except UserError as error:
        yield {"event": "refused", "message": str(error)}
        return
    except jax.errors.JaxRuntimeError as error:
        yield _too_large(str(error)) or {"event": "failed", "message": _first_line(error)}
        return
    memory = compiled.memory_analysis()
    yield {
        "event": "compiled",
        "trace_seconds": traced - begin,
        "compile_seconds": ended - traced,
        "host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "donated": memory.alias_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
    }
    try:  # last, since large programs are known to fail here
        traffic = of_program(compiled.as_text(), job.topology)
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        yield {"event": "unread", "message": _first_line(error)}
        return
    yield {"event": "read", "traffic": [list(vars(one).values()) for one in traffic]}


def _too_large(message: str) -> dict[str, Any] | None:
    """What the compiler says of a program for which it finds no room; None of other errors."""
    found = next(filter(None, (re.search(form, message) for form in _FORMS)), None)
    if found is None:
        return None
    used, limit = (float(found[i]) * _UNITS[found[i + 1]] for i in (1, 3))
    return {"event": "too large", "used": used, "limit": limit}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


if __name__ == "__main__":
    main()
