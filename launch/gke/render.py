"""Fills in launch/gke/jobset.yaml, a run on TPU slices of a GKE cluster, and prints it.

  python launch/gke/render.py --name=bert --image=REGISTRY/plmjax --accelerator=tpu-v5p-slice \
      --topology=4x4x4 [--slices=2] [--restarts=100] -- --config=configs/bert.py:large \
      --workdir=gs://BUCKET/RUN | kubectl apply -f -

The image is launch/Dockerfile's. The cluster needs JobSet (kubectl apply -f the manifests.yaml of a
release of kubernetes-sigs/jobset) and a node pool of that accelerator and topology for each slice.
What follows the -- are plmjax.main's flags; workdir and store have to be where all hosts see them.

When a node is taken away or anything fails, all of it starts again and resumes from the last
checkpoint, up to --restarts times; a mistake in the config (exit code 2) ends it at once. Logs:
kubectl logs -l jobset.sigs.k8s.io/jobset-name=NAME,batch.kubernetes.io/job-completion-index=0 -f
The end: kubectl delete jobset NAME
With xpk in place of a manifest: xpk workload create --workload=bert --tpu-type=v5p-128
  --docker-image=REGISTRY/plmjax --max-restarts=100 --command='python -m plmjax.main --config=...'
"""

import json
import math
import re
import string
import sys
from pathlib import Path

from absl import app, flags

TEMPLATE = Path(__file__).with_name("jobset.yaml")
CHIPS_PER_HOST = {
    "tpu-v4-podslice": 4,
    "tpu-v5p-slice": 4,
    "tpu-v5-lite-podslice": 4,
    "tpu-v6e-slice": 4,
    "tpu7x": 4,
}
"""Of node pools with several hosts, by cloud.google.com/gke-tpu-accelerator."""

NAME = flags.DEFINE_string("name", "", "The JobSet's name.")
IMAGE = flags.DEFINE_string("image", "", "The container image.")
ACCELERATOR = flags.DEFINE_string("accelerator", "", "cloud.google.com/gke-tpu-accelerator.")
TOPOLOGY = flags.DEFINE_string("topology", "", "Chips of a slice, as 4x4x4.")
SLICES = flags.DEFINE_integer("slices", 1, "How many slices.", lower_bound=1)
RESTARTS = flags.DEFINE_integer("restarts", 100, "The most restarts.", lower_bound=0)


def rendered(
    name: str,
    image: str,
    accelerator: str,
    topology: str,
    slices: int,
    restarts: int,
    arguments: list[str],
) -> str:
    """The manifest, or ValueError in one line."""
    for flag, value in (("name", name), ("image", image)):
        if not value:
            raise ValueError(f"--{flag} is missing")
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name):
        raise ValueError(
            f"--name={name}; expected up to 40 lower-case letters, digits and -, from a letter on"
        )
    if accelerator not in CHIPS_PER_HOST:
        raise ValueError(
            f"--accelerator={accelerator}; expected one of {', '.join(CHIPS_PER_HOST)}"
        )
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", topology):
        raise ValueError(f"--topology={topology}; expected the chips of a slice, as 4x4x4")
    if not any(word.startswith("--config") for word in arguments):
        raise ValueError("what to train is missing; end with -- --config=... --workdir=...")
    chips = math.prod(map(int, topology.split("x")))
    each = min(chips, CHIPS_PER_HOST[accelerator])
    return string.Template(TEMPLATE.read_text()).substitute(
        name=name,
        image=json.dumps(image),
        accelerator=accelerator,
        topology=topology,
        slices=slices,
        hosts=-(-chips // each),
        chips=each,
        restarts=restarts,
        args=json.dumps(arguments),  # JSON is YAML
    )


def main(argv):
    try:
        print(
            rendered(
                *(NAME.value, IMAGE.value, ACCELERATOR.value, TOPOLOGY.value),
                *(SLICES.value, RESTARTS.value, argv[1:]),
            ),
            end="",
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
