"""Several processes as one run: how they find each other, and how they agree.

jax's coordination service, which runs in process 0, holds a table of texts that all processes read
and write; what is agreed here goes through it and needs no device. `jax.distributed` starts the
service and has no public name for the table or for what jax detects of a cluster, so this file
alone takes both from jax's inside, by names that jax 0.10 and 0.11 have.
"""

import ctypes
import dataclasses
import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax

from plmjax.errors import UserError

CONNECT_SECONDS = 300.0
"""How long a process looks for the coordinator by default."""

_ROOT = "plmjax"
_ENVIRONMENT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_FLAGS = ("--coordinator", "--processes", "--process")
_USER_ERROR = 2  # the exit code of the command line for a mistake of the user's
_PATIENT_SECONDS = 24 * 3600  # jax's own limits, which are to come after those of this file


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process stands: `rank` of `size`, found through `coordinator`, HOST:PORT."""

    coordinator: str
    size: int
    rank: int

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size}"


def find_place(
    coordinator: str | None, processes: int | None, process: int | None, seconds: float
) -> Place | None:
    """This process's place, from flags, else from the environment, else from the cluster.

    The environment is JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; clusters are
    those that jax detects, among them TPU slices (by their metadata) and SLURM.

    Args:
      coordinator, processes, process: the flags; None where one was not given.
      seconds: how long a cluster may take to name its coordinator.

    Returns:
      None for a process of its own.

    Raises:
      UserError: where numbers are missing, or do not fit each other.
    """
    flags = (coordinator, processes, process)
    if any(flag is not None for flag in flags):
        return _placed(dict(zip(_FLAGS, flags, strict=True)))
    found = {name: os.environ.get(name) for name in _ENVIRONMENT}
    if found["JAX_NUM_PROCESSES"] or found["JAX_PROCESS_ID"]:
        return _placed(found)
    return _detected(seconds)


def _placed(given: Mapping[str, Any]) -> Place | None:
    """The place that three settings say, by the names that the user knows."""
    said = ", ".join(f"{name}={value}" for name, value in given.items() if value not in (None, ""))
    missing = [name for name, value in given.items() if value in (None, "")]
    if missing:
        raise UserError(
            f"{said} and no {' and no '.join(missing)}; a run of several processes needs all of"
            f" {', '.join(given)}"
        )
    address, size, rank = given.values()
    try:
        size, rank = int(size), int(rank)
    except ValueError:
        raise UserError(f"{said}: expected whole numbers of processes") from None
    if size < 1 or not 0 <= rank < size:
        raise UserError(f"{said}: processes are numbered from 0 to {max(size, 1) - 1}")
    if not re.fullmatch(r".+:\d{1,5}", address):
        raise UserError(f"{said}: expected HOST:PORT, such as 10.0.0.1:8476")
    return Place(address, size, rank)


def _detected(seconds: float) -> Place | None:
    from jax._src.clusters import ClusterEnv

    known = [kind for kind in ClusterEnv._cluster_types if not kind.opt_in_only_method]
    if "tpu" not in (jax.config.jax_platforms or "tpu"):  # a slice's host that computes alone
        known = [kind for kind in known if "tpu" not in kind.name]
    cluster = next((kind for kind in known if kind.is_env_present()), None)
    if cluster is None or cluster.get_process_count() == 1:
        return None
    address = cluster.get_coordinator_address(
        timeout_secs=int(seconds),
        override_coordinator_port=os.environ.get("JAX_COORDINATOR_PORT"),
    )
    return Place(address, cluster.get_process_count(), cluster.get_process_id())


def join(place: Place, seconds: float = CONNECT_SECONDS) -> None:
    """Joins the other processes; to be called before anything asks jax for a device.

    Raises:
      UserError: where they are not all found within so many seconds.
    """
    end = time.monotonic() + seconds
    if place.rank:
        _await_coordinator(place, seconds)
    left = max(end - time.monotonic(), 1.0)
    missing = (
        f"{place} has waited {seconds:g} s at {place.coordinator} for the other processes; check"
        " that all are started, with this address, this number of processes and each its own rank"
    )

    def give_up() -> None:
        os.write(2, f"error: {missing}\n".encode())
        os._exit(_USER_ERROR)

    # Where jax cannot join it aborts, and does so after its own time: this one's is before it.
    timer = threading.Timer(left, give_up)
    timer.daemon = True
    timer.start()
    refused = f"{place} could not join the others at {place.coordinator}, as said above"
    undo = on_abort(lambda: refused, _USER_ERROR)
    # Its handler of SIGTERM would stay for the whole run; `plmjax.train.stopping` has its own.
    jax.config.update("jax_enable_preemption_service", False)
    if not jax.config.jax_cpu_collectives_implementation:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.size,
            place.rank,
            initialization_timeout=int(left) + 60,
            # jax ends a process without a line of ours; the watchdog is to be first.
            heartbeat_timeout_seconds=_PATIENT_SECONDS,
        )
    except RuntimeError as error:
        what = str(error).splitlines()[0][:200]
        raise UserError(
            f"{place} could not join the others at {place.coordinator}: {what}; check the address,"
            " and that no other run has it"
        ) from None
    finally:
        timer.cancel()
        undo()


def on_abort(line: Callable[[], str | None], code: int) -> Callable[[], None]:
    """Lets an abort end this process with a line of ours and an exit code.

    jax's client aborts the process where it cannot join, or as soon as its connection breaks; what
    it prints then names no process. Its callback for that is none that Python can give: jaxlib 0.10
    fails to convert the argument.

    Args:
      line: called at the abort; where it returns None the abort goes on as without this.
      code: the exit code.

    Returns:
      What undoes this.
    """
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]

    def aborted(number: int) -> None:
        said = line()
        if said is not None:
            os.write(2, f"error: {said}\n".encode())
            os._exit(code)
        libc.signal(number, before)
        libc.kill(os.getpid(), number)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
    before = libc.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))

    def undo(kept: Any = handler) -> None:  # C does not keep the handler alive
        libc.signal(signal.SIGABRT, before)

    return undo


def _await_coordinator(place: Place, seconds: float) -> None:
    """Returns when something listens at the coordinator's address."""
    end, why = time.monotonic() + seconds, "no answer"
    while (left := end - time.monotonic()) > 0:
        try:
            return _connect(place.coordinator, left)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            time.sleep(min(0.2, max(end - time.monotonic(), 0)))
    raise UserError(
        f"{place} cannot reach the coordinator at {place.coordinator}: {why}, for {seconds:g} s;"
        " check that rank 0 runs there and that the network lets it through"
    )


def _connect(address: str, seconds: float) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()


def answers(address: str, seconds: float) -> bool:
    """Whether something listens at HOST:PORT."""
    try:
        _connect(address, seconds)
    except OSError:
        return False
    return True


class Group:
    """The processes of this run; in a process of its own all is agreed at once."""

    def __init__(self):
        """Those that `join` has joined."""
        from jax._src.distributed import global_state

        self._client = global_state.client
        self.rank = global_state.process_id if self._client else 0
        self.size = global_state.num_processes if self._client else 1
        self.coordinator = global_state.coordinator_address or ""
        self._own: dict[str, str] = {}

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes what is written once."""
        return self.rank == 0

    def name(self, rank: int) -> str:
        """`rank 2 of 4`."""
        return f"rank {rank} of {self.size}"

    def post(self, key: str, text: str, again: bool = False) -> bool:
        """Writes a text for all to see; False if there is one already, which then stays.

        Args:
          key: words joined by slashes.
          text: what to write.
          again: whether it takes the place of the one before.
        """
        if self._client is None:
            return again or self._own.setdefault(key, text) == text
        try:
            self._client.key_value_set(f"{_ROOT}/{key}", text, allow_overwrite=again)
        except RuntimeError as error:
            if "ALREADY_EXISTS" not in str(error):
                raise
            return False
        return True

    def read(self, key: str) -> str | None:
        """The text of a key; None if nobody has written one."""
        if self._client is None:
            return self._own.get(key)
        try:
            return self._client.key_value_try_get(f"{_ROOT}/{key}")
        except RuntimeError as error:
            if "NOT_FOUND" not in str(error):
                raise
            return None

    def read_ranks(self, key: str) -> dict[int, str]:
        """The texts at `key/RANK`, of the ranks that have written one."""
        if self._client is None:
            return {0: self._own[f"{key}/0"]} if f"{key}/0" in self._own else {}
        pairs = self._client.key_value_dir_get(f"{_ROOT}/{key}/")
        return {int(name.rpartition("/")[2]): text for name, text in pairs}

    def gather(self, key: str, text: str, seconds: float, what: str) -> list[str]:
        """One text of each process, in the order of ranks.

        Args:
          key: of this meeting, used once.
          text: this process's.
          seconds: how long the others are waited for.
          what: they come to, for the message.

        Raises:
          UserError: where some have not come.
        """
        self.post(f"{key}/{self.rank}", text)
        end, pause = time.monotonic() + seconds, 0.01
        while len(texts := self.read_ranks(key)) < self.size:
            if time.monotonic() > end:
                missing = ", ".join(str(r) for r in range(self.size) if r not in texts)
                raise UserError(
                    f"{self.name(self.rank)} has waited {seconds:g} s at {what} for ranks {missing}"
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        return [texts[rank] for rank in range(self.size)]

    def decided(self, key: str, decide: Callable[[], Any], seconds: float, what: str) -> Any:
        """What `decide` returns in rank 0, which alone calls it; arguments as of `gather`.

        Returns:
          The value as JSON has it.
        """
        if self.first:
            self.post(key, json.dumps(decide()))
        end, pause = time.monotonic() + seconds, 0.01
        while (text := self.read(key)) is None:
            if time.monotonic() > end:
                raise UserError(
                    f"{self.name(self.rank)} has waited {seconds:g} s for {what} by rank 0"
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        return json.loads(text)

    def check_same(self, key: str, record: Mapping[str, Any], seconds: float) -> None:
        """Raises a UserError in every process if their records differ, with the first difference.

        Args:
          key: of this meeting, used once.
          record: name -> value; the order decides which difference is the first.
          seconds: how long the others are waited for.
        """
        texts = self.gather(key, json.dumps(record), seconds, "the comparison of what was started")
        if message := difference([json.loads(text) for text in texts]):
            raise UserError(f"{message}; start all with the same command and the same code")

    def turn(self) -> int:
        """When this process prepares what its machine keeps: 0, 1 or 2.

        0 for rank 0, 1 for the first of each other machine, 2 for those who then find it there.
        """
        hosts = self.gather("host", socket.gethostname(), CONNECT_SECONDS, "the start")
        if self.rank == 0:
            return 0
        return 1 if hosts.index(hosts[self.rank]) == self.rank else 2

    def close(self) -> None:
        """Leaves the others, which do the same now."""
        jax.distributed.shutdown()
        self._client, self.size, self.rank = None, 1, 0


def difference(records: list[dict[str, Any]]) -> str:
    """Which ranks differ from most, and in what first; empty if all records are the same."""
    names = list(dict.fromkeys(name for record in records for name in record))
    found = []
    for name in names:
        values = [json.dumps(record.get(name)) for record in records]
        if len(set(values)) > 1:
            found.append((name, values))
    if not found:
        return ""
    name, values = found[0]
    usual = Counter(values).most_common(1)[0][0]
    odd = [rank for rank, value in enumerate(values) if value != usual]
    shown = ", ".join(
        f"rank {rank} of {len(records)} has {name}={values[rank]}" for rank in odd[:3]
    )
    rest = f" and {len(odd) - 3} more ranks differ" if len(odd) > 3 else ""
    more = f" (and {len(found) - 1} more settings differ)" if len(found) > 1 else ""
    return f"the ranks were started differently: {shown}{rest}, the others {usual}{more}"
