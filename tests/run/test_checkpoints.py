"""Which checkpoints stay, and what the remains of interrupted deletions do: nothing."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.errors import UserError
from plmjax.train.checkpoints import CheckpointConfig, Checkpoints, check_space, complete_steps
from plmjax.train.guard import Guard, fresh_guard

MONITOR = {1: 3.0, 2: 1.0, 3: None, 4: 2.0, 5: None, 6: 2.5, 7: 9.0}


def state(step: int) -> dict:
    return {"step": jnp.int32(step), "x": jnp.full((3, 4), step, jnp.float32)}


def shapes() -> dict:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), state(0))


def saved(folder, config, steps) -> Checkpoints:
    checkpoints = Checkpoints(folder, config)
    for step in steps:
        checkpoints.save(step, state(step), MONITOR[step])
    checkpoints.close()
    return checkpoints


@pytest.mark.parametrize(
    "keep, keep_best, left",
    [(2, 1, [2, 6, 7]), (1, 2, [2, 4, 7]), (3, 0, [5, 6, 7])],
)
def test_the_newest_and_the_best_stay(tmp_path, keep, keep_best, left):
    saved(tmp_path, CheckpointConfig(keep=keep, keep_best=keep_best), range(1, 8))
    assert complete_steps(tmp_path) == left


def test_the_best_is_still_known_after_a_restart(tmp_path):
    config = CheckpointConfig(keep=1, keep_best=1)
    saved(tmp_path, config, [1, 2])
    saved(tmp_path, config, [3, 4])
    saved(tmp_path, config, [5, 6, 7])
    assert complete_steps(tmp_path) == [2, 7]


@pytest.mark.parametrize("gone", ["state", "metrics", "_CHECKPOINT_METADATA", "checksums.json"])
def test_a_deletion_that_was_interrupted_is_completed(tmp_path, gone):
    """A kill during the rotation leaves a part of an old checkpoint, whichever part it is."""
    config = CheckpointConfig(keep=2, keep_best=1)
    saved(tmp_path, config, [2, 4, 6, 7])
    assert complete_steps(tmp_path) == [2, 6, 7]
    (tmp_path / "7").rename(tmp_path / "8")
    (tmp_path / "2").rename(tmp_path / "1")  # no longer the best when its metrics are gone
    part = tmp_path / "1" / gone
    for path in sorted(part.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    part.rmdir() if part.is_dir() else part.unlink()
    checkpoints = Checkpoints(tmp_path, config)
    newest = checkpoints.newest_intact()
    assert newest == 8
    restored = checkpoints.restore(newest, shapes())
    np.testing.assert_array_equal(restored["x"], np.full((3, 4), 7.0))
    for step in (9, 10):
        checkpoints.save(step, state(step), 0.5)
    checkpoints.close()
    assert complete_steps(tmp_path) == [9, 10]


def test_nothing_is_created_by_looking(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none", CheckpointConfig())
    assert checkpoints.newest_intact() is None
    assert not (tmp_path / "none").exists()


def test_an_unfinished_save_is_not_a_checkpoint(tmp_path):
    config = CheckpointConfig()
    saved(tmp_path, config, [1])
    (tmp_path / "2.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    checkpoints = Checkpoints(tmp_path, config)
    assert checkpoints.newest_intact() == 1
    checkpoints.save(2, state(2), None)
    checkpoints.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


@flax.struct.dataclass
class Older:
    """A state before there was a field for what bad updates are told by."""

    step: jax.Array
    params: dict
    opt_state: tuple


@flax.struct.dataclass
class Newer(Older):
    guard: Guard


def test_a_checkpoint_of_an_older_version_is_filled_in(tmp_path):
    params, said = {"a": {"b": jnp.arange(6.0).reshape(2, 3)}}, []
    older = Older(jnp.int32(5), params, optax.adam(1e-3).init(params))
    first = Checkpoints(tmp_path, CheckpointConfig())
    first.save(5, older, None)
    first.close()
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    newer = Newer(older.step, params, older.opt_state, fresh_guard())
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), newer)
    second = Checkpoints(tmp_path, CheckpointConfig(), said.append)
    found = second.restore(second.newest_intact(), like, {"guard": fresh_guard})
    assert jax.tree.structure(found) == jax.tree.structure(newer)
    jax.tree.map(np.testing.assert_array_equal, found, newer)
    assert said == ["checkpoint 5 has no guard yet: it begins now"]
    # The next one has it, and is read as it is.
    second.save(6, found.replace(guard=found.guard.replace(bad_steps=jnp.int32(3))), None)
    second.close()
    third = Checkpoints(tmp_path, CheckpointConfig(), said.append)
    assert third.restore(third.newest_intact(), like, {"guard": fresh_guard}).guard.bad_steps == 3
    assert len(said) == 1
    third.close()


def test_space_is_asked_for_all_that_is_kept(tmp_path, monkeypatch):
    """Three newest, the best, and the one being written: 5 x 52 bytes."""
    config = CheckpointConfig(keep=3, keep_best=1)
    usage = type("Usage", (), {"free": 5 * 52})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    check_space(tmp_path / "new", state(0), config)
    usage.free -= 1
    with pytest.raises(UserError, match=r"no disk space in .*new: 5 checkpoints"):
        check_space(tmp_path / "new", state(0), config)
