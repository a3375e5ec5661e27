"""Says what a config needs of machines that are not at hand: memory, time, and whether it fits.

  python -m plmjax.plan --config=configs/bert.py:large --topology=v4:4x4x4

--config=FILE.py[:ARGUMENT]    the config, with overrides: --config.mesh.fsdp=64
--topology=CHIP:SHAPE          TPU slices in chips, v4:4x4x4, v5p:8x8x16, v5e:16x16 (v2 to v6e, and
                               tpu7x), which the real compiler compiles for; or GPUs, h100:8 or
                               h100:4x8 for 4 nodes (v100, a100-40, a100-80, h100, h200, b200), of
                               which all is arithmetic
--slices=N                     of so many slices, or as v5p:4x4x4*2; set config.mesh.slice too
--decode_batch=N --decode_length=N   of the decode step (default: a text for each part of the
                               batch, and the length of the last phase)
--efficiency=SHARE             of the chip's peak that matrix products reach (default 0.6)
--search                       tries meshes, rematerialisation and microbatches, lists the best
--search_seconds=S             how long it may compile (default 300)
--json                         prints one JSON object instead of a table

The exit code is 1 where it does not fit. Neither a TPU nor the corpus is needed, but the TPU
compiler is: pip install "jax[tpu]".
"""

import os

# Before jax is imported. The compiler then asks no cloud what it runs on, nor who else has it.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"

import dataclasses
import json
import sys

from absl import flags
from rich.console import Console

from plmjax import cli, experiment
from plmjax.planning import report, search
from plmjax.planning.compiling import check_compiler
from plmjax.planning.sketch import EFFICIENCY, abstract_experiment, choice_of
from plmjax.planning.topology import Topology, parse_topology

CONFIG = cli.define_config_flag()
TOPOLOGY = flags.DEFINE_string("topology", None, "CHIP:SHAPE, such as v5p:4x4x4 or h100:8.")
SLICES = flags.DEFINE_integer("slices", 1, "How many slices or nodes.", lower_bound=1)
DECODE_BATCH = flags.DEFINE_integer("decode_batch", 0, "Texts decoded at once.", lower_bound=0)
DECODE_LENGTH = flags.DEFINE_integer("decode_length", 0, "Places of the cache.", lower_bound=0)
EFFICIENCY_FLAG = flags.DEFINE_float(
    "efficiency", EFFICIENCY, "Share of the peak.", lower_bound=0.01, upper_bound=1.0
)
SEARCH = flags.DEFINE_bool("search", False, "Try meshes, rematerialisation and microbatches.")
SEARCH_SECONDS = flags.DEFINE_float("search_seconds", 300.0, "For compiling.", lower_bound=1.0)
JSON = flags.DEFINE_bool("json", False, "Print one JSON object.")

DOES_NOT_FIT = 1


def main() -> int:
    """Plans what the flags say and prints; returns the exit code."""
    topology = parse_topology(TOPOLOGY.value, SLICES.value)
    if topology.is_tpu:
        check_compiler()
    settings = experiment.read_settings(CONFIG.value)
    if settings.model.get("dtype") == "auto":
        # What it is on these chips, and not on this machine.
        settings = dataclasses.replace(settings, model={**settings.model, "dtype": "bfloat16"})
    plan = abstract_experiment(experiment.drafted(settings, None), topology)
    return searched(plan, topology) if SEARCH.value else planned(plan, topology)


def planned(plan: experiment.Experiment, topology: Topology) -> int:
    """Prints what the config needs."""
    asked = report.Asked(DECODE_BATCH.value, DECODE_LENGTH.value, EFFICIENCY_FLAG.value)
    figures = report.report(plan, topology, asked, say)
    if JSON.value:
        print(report.as_json(figures))
    else:
        report.print_table(figures, console())
    return 0 if figures["fits"] else DOES_NOT_FIT


def searched(plan: experiment.Experiment, topology: Topology) -> int:
    """Prints the best choices."""
    ranked = search.search(plan, topology, EFFICIENCY_FLAG.value, SEARCH_SECONDS.value, say)
    now, tokens = choice_of(plan), search.tokens_of(plan)
    if JSON.value:
        best = [search.as_dict(one, now, tokens) for one in ranked]
        print(json.dumps({"topology": topology.name, "best": best}))
    else:
        search.print_table(ranked, now, tokens, console())
    return 0 if any(one.fits for one in ranked) else DOES_NOT_FIT


def console() -> Console:
    """Where tables go: as wide as they are, where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Progress, which is not part of the answer."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.run(main, CONFIG, __doc__)
