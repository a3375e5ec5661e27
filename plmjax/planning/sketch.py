"""What can be said of a config without a compiler: memory, traffic and time of a train step.

All of it is arithmetic on the model's shape, so that a search can ask for thousands of meshes.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from plmjax.checks import check_phase
from plmjax.errors import UserError
from plmjax.experiment import Experiment, Settings, build, model_config, planned_phases
from plmjax.nn.stack import REMAT_POLICIES
from plmjax.parallel.mesh import AXES, abstract_mesh
from plmjax.parallel.pipeline import microbatch_count, row_shards
from plmjax.parallel.rules import BATCH, RESIDUAL_LENGTH
from plmjax.planning.flops import Flops, forward_flops
from plmjax.planning.memory import Kept, Leaf, Needed, kept, leaves, local_elements, needed
from plmjax.planning.programs import phase_spec
from plmjax.planning.stand_in import stand_in
from plmjax.planning.topology import Topology
from plmjax.planning.traffic import Traffic, by_axis
from plmjax.types import Spec

EFFICIENCY = 0.6
"""The share of the chip's peak that matrix products are taken to reach; a large well-laid-out model
reaches 0.5 to 0.7."""

LINE_RATE = 0.8
"""The share of their peaks that HBM and networks are taken to reach."""

ASSUMPTION = (
    "estimate from published peaks: matrix products at {efficiency:.0%} of the bf16 peak, HBM and"
    f" networks at {LINE_RATE:.0%} of theirs, the three at the same time, so that the slowest binds"
)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a search chooses.

    sizes: of the mesh, by axis. remat: a name of REMAT_POLICIES. accumulate: microbatches.
    """

    sizes: tuple[int, ...]
    remat: str
    accumulate: int

    @property
    def mesh(self) -> dict[str, int]:
        """The sizes by name."""
        return dict(zip(AXES, self.sizes, strict=True))

    def applied(self, settings: Settings) -> Settings:
        """The config with this choice."""
        model = {**settings.model, "remat": self.remat}
        train = dataclasses.replace(settings.train, accumulate=self.accumulate)
        mesh = dataclasses.replace(settings.mesh, **self.mesh)
        return dataclasses.replace(settings, model=model, train=train, mesh=mesh)

    def overrides(self, before: "Choice") -> str:
        """The words of a command that make this choice of another."""
        now, then = self.mesh, before.mesh
        words = [f"--config.mesh.{axis}={now[axis]}" for axis in AXES if now[axis] != then[axis]]
        if self.remat != before.remat:
            words.append(f"--config.model.remat={self.remat}")
        if self.accumulate != before.accumulate:
            words.append(f"--config.train.accumulate={self.accumulate}")
        return " ".join(words)


def choice_of(plan: Experiment) -> Choice:
    """What a config has chosen."""
    sizes = tuple(plan.mesh.shape[axis] for axis in AXES)
    return Choice(sizes, plan.settings.model["remat"], plan.settings.train.accumulate)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Seconds of a train step, if each of these were all there is, at the assumed shares."""

    compute: float
    memory: float
    network: float

    @property
    def binds(self) -> str:
        """What takes the longest: compute, HBM or network."""
        named = {"compute": self.compute, "HBM": self.memory, "network": self.network}
        return max(named, key=named.get)

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return max(self.compute, self.memory, self.network)


@dataclasses.dataclass(frozen=True)
class Sketch:
    """A phase of a config, for any mesh, rematerialisation and number of microbatches.

    spec: of a batch. flops: of a forward pass over it. policies: what is kept, by policy.
    parameters, optimizer: the arrays of the state. batch_axes, residual_axes: mesh axes that split
      the batch, and the residual along its rows.
    layers, width: N of all stacks, and D. itemsize: bytes of an element of activations.
    """

    settings: Settings
    topology: Topology
    spec: Spec
    flops: Flops
    policies: Mapping[str, Kept]
    parameters: tuple[Leaf, ...]
    optimizer: tuple[Leaf, ...]
    batch_axes: tuple[str, ...]
    residual_axes: tuple[str, ...]
    layers: int
    width: int
    itemsize: int

    @property
    def rows(self) -> int:
        """Of a batch."""
        return self.spec["tokens"][0][0]

    @property
    def tokens(self) -> int:
        """Places of a batch, padding included, of source and target where there are both."""
        texts = [self.spec[key][0] for key in ("tokens", "decoder_tokens") if key in self.spec]
        return sum(rows * length for rows, length in texts)

    @property
    def batch_bytes(self) -> int:
        """Of all arrays of a batch."""
        return sum(math.prod(of) * np.dtype(dtype).itemsize for of, dtype in self.spec.values())

    def local_rows(self, choice: Choice) -> float:
        """Rows of a microbatch that a device has."""
        ways = math.prod(choice.mesh[axis] for axis in self.batch_axes)
        return self.rows / (ways * choice.accumulate)

    def passes(self, choice: Choice) -> int:
        """Microbatches that pass through the stages of a pipeline; 1 without one."""
        stages = choice.mesh["pipeline"]
        if stages == 1:
            return 1
        shards = row_shards(choice.mesh, self.settings.sharding.rules)
        asked = self.settings.mesh.microbatches
        return microbatch_count(self.rows // choice.accumulate, shards, stages, asked)

    def needed(self, choice: Choice) -> Needed:
        """Bytes a device needs."""
        return needed(
            self.parameters,
            self.optimizer,
            self.policies,
            choice.remat,
            self.layers,
            self.local_rows(choice),
            choice.mesh,
            self.residual_axes,
            choice.accumulate,
            self.passes(choice),
        )

    def traffic(self, choice: Choice) -> tuple[Traffic, ...]:
        """What devices send each other."""
        return by_axis(
            self.topology,
            choice.mesh,
            self.parameters,
            self.tokens / self.rows * self.local_rows(choice),
            self.width,
            self.layers,
            choice.remat,
            choice.accumulate,
            self.passes(choice),
            self.itemsize,
        )

    def hardware_flops(self, choice: Choice) -> float:
        """Of a step on all devices."""
        stages = choice.mesh["pipeline"]
        return self.flops.hardware(choice.remat, stages, self.passes(choice))

    def memory_bytes(self, choice: Choice) -> float:
        """Bytes a device reads from and writes to HBM in a step, roughly.

        The state is read and written once, and gradients; weights are read by each pass over the
        layers; what a pass makes is written and read.
        """
        found, passes = self.needed(choice), 2 if choice.remat == "none" else 3
        state = 2 * (found.parameters + found.optimizer + found.gradients)
        weights = self.itemsize * local_elements(self.parameters, {**choice.mesh, "fsdp": 1})
        within = choice.mesh["sequence"] * choice.mesh["tensor"] * choice.mesh["pipeline"]
        made = self.policies["none"].row * self.local_rows(choice) / within
        return state + choice.accumulate * (passes * weights + 2 * passes * made)

    def estimate(
        self,
        choice: Choice,
        efficiency: float = EFFICIENCY,
        traffic: tuple[Traffic, ...] | None = None,
    ) -> Estimate:
        """How long a step takes; `traffic` is the compiled program's where there is one."""
        chip, devices = self.topology.chip, self.topology.devices
        flops = self.hardware_flops(choice) / devices
        sent = self.traffic(choice) if traffic is None else traffic
        return Estimate(
            flops * chip.devices / (chip.flops * efficiency),
            self.memory_bytes(choice) * chip.devices / (chip.bandwidth * LINE_RATE),
            sum(one.seconds(self.topology) for one in sent) / LINE_RATE,
        )

    def allows(self, choice: Choice) -> bool:
        """Whether the batch, the heads and the widths can be so divided."""
        settings = choice.applied(self.settings)
        mesh = abstract_mesh(settings.mesh, math.prod(choice.sizes))
        try:
            for phase in planned_phases(settings):
                check_phase(settings, phase, model_config(settings), mesh)
        except UserError:
            return False
        return all(
            size % choice.mesh[axis] == 0
            for axis, size in (
                ("sequence", self.spec["tokens"][0][1]),
                ("pipeline", self.layers),
                ("fsdp", self.width),
            )
        )


def abstract_experiment(settings: Settings, topology: Topology) -> Experiment:
    """The config on the topology's devices, which need not be there.

    Raises:
      UserError: for whatever does not fit together.
    """
    mesh = abstract_mesh(settings.mesh, topology.devices, topology.mesh_slices)
    return build(settings, mesh=mesh, tokenizer=stand_in(settings.corpus))


def sketch(
    plan: Experiment, topology: Topology, phase: int, policies: tuple[str, ...] = ()
) -> Sketch:
    """What is to be known of a phase.

    Args:
      plan: of `abstract_experiment`.
      topology: its devices.
      phase: its index.
      policies: those that will be asked for, beside the config's own.
    """
    spec, settings = phase_spec(plan, phase), plan.settings
    config = plan.objective.backbone.config

    def with_policy(name: str) -> Kept:
        backbone = plan.objective.backbone.clone(config=dataclasses.replace(config, remat=name))
        return kept(plan.objective.clone(backbone=backbone), spec)

    named = {"none", "full", config.remat, *policies}
    stacks = [getattr(config, name, ()) for name in ("encoder_layers", "decoder_layers")]
    state = plan.abstract_state
    return Sketch(
        settings=settings,
        topology=topology,
        spec=spec,
        flops=forward_flops(plan.objective, spec),
        policies={name: with_policy(name) for name in REMAT_POLICIES if name in named},
        parameters=leaves(state.params),
        # What is handed on from step to step lies beside it all the time, too.
        optimizer=leaves((state.opt_state, state.carried)),
        batch_axes=dict(settings.sharding.rules)[BATCH] or (),
        residual_axes=dict(settings.sharding.rules)[RESIDUAL_LENGTH] or (),
        layers=sum(map(len, stacks)) or config.num_layers,
        width=config.hidden_size,
        itemsize=2 if config.dtype == "bfloat16" else 4,
    )
