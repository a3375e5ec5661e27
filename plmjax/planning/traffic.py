"""Bytes that devices send each other: read from a compiled program, or counted by mesh axis."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping

from plmjax.parallel.collectives import collectives, ring_share
from plmjax.parallel.mesh import AXES
from plmjax.planning.memory import Leaf, bubble, local_elements
from plmjax.planning.topology import Topology


@dataclasses.dataclass(frozen=True)
class Traffic:
    """All collectives of a kind in groups of a size.

    count: devices of a group. spans: among how many slices or nodes. sent: bytes each device sends
    in a step. operations: how many there are in a step; 0 where they were not counted.
    """

    kind: str
    count: int
    spans: int
    sent: float
    operations: int = 0

    def seconds(self, topology: Topology) -> float:
        """At the peak of what joins the group."""
        return self.sent / topology.rate(self.count, self.spans)


def of_program(text: str, topology: Topology) -> tuple[Traffic, ...]:
    """What a compiled program sends in a run; `text` is its HLO."""
    found: dict[tuple, list[float]] = collections.defaultdict(lambda: [0.0, 0])
    for one in collectives(text):
        if one.group > 1:
            spans = topology.spans(one.members) if one.members else 1
            total = found[one.kind, one.group, spans]
            total[0] += one.moved
            total[1] += one.times
    return tuple(Traffic(*key, sent, int(count)) for key, (sent, count) in sorted(found.items()))


def by_axis(
    topology: Topology,
    sizes: Mapping[str, int],
    parameters: Iterable[Leaf],
    tokens: float,
    width: int,
    layers: int,
    remat: str,
    accumulate: int,
    passes: int,
    itemsize: int,
) -> tuple[Traffic, ...]:
    """The same by arithmetic, for programs that are not compiled or cannot be read.

    Weights split by fsdp are gathered for the forward and for the backward pass, gradients reduced
    once, each for every microbatch, also of those that pass through a pipeline. Between the axes of
    tensor the residual is gathered and reduced around attention and feed-forward: four times in the
    forward pass, six in the backward pass, and with layers that are computed again four more. Keys
    and values are gathered along sequence.

    Args:
      topology: what joins the devices.
      sizes: of the mesh.
      parameters: of the state.
      tokens: of a microbatch that a device has, of all that sequence splits.
      width, layers: D and N.
      remat, accumulate: the policy, and the number of microbatches.
      passes: into how many each of these is cut for the stages of a pipeline.
      itemsize: bytes of an element of activations, and of weights as they are sent.
    """
    parameters = tuple(parameters)
    whole = itemsize * local_elements(parameters, {**sizes, "fsdp": 1})
    local = itemsize * local_elements(parameters, sizes)
    residual = tokens * width * itemsize / sizes["sequence"]  # whole but for sequence
    turns = 10 + {"none": 0, "dots": 2}.get(remat, 4)
    stages = sizes["pipeline"]  # of whose rows each has all
    ticks = bubble(stages, passes)
    heads = tokens * width * itemsize / sizes["tensor"]
    results = {
        "fsdp": [
            ("all-gather", 2 * passes * whole),
            ("reduce-scatter", passes * whole / sizes["fsdp"]),
        ],
        "data": [("all-reduce", local)],
        "slice": [("all-reduce", local)],
        "tensor": [
            ("all-gather", layers * residual * turns / 2),
            ("reduce-scatter", layers * residual / sizes["tensor"] * turns / 2),
        ],
        "sequence": [
            ("all-gather", 2 * 2 * layers * heads),
            ("reduce-scatter", 2 * layers * heads / sizes["sequence"]),
        ],
        "pipeline": [("collective-permute", 2 * ticks * stages * residual / sizes["tensor"])],
    }
    found = []
    for axis, kinds in results.items():
        if sizes[axis] > 1:
            stride = math.prod(sizes[later] for later in AXES[AXES.index(axis) + 1 :])
            spans = topology.spans(range(0, stride * sizes[axis], stride))
            for kind, result in kinds:
                sent = accumulate * result * ring_share(kind, sizes[axis])
                found.append(Traffic(kind, sizes[axis], spans, sent))
    return tuple(found)
