"""Who computes an attention, and what is said where it is not who was hoped for."""

import dataclasses
from types import SimpleNamespace

import pytest

from plmjax.errors import UserError
from plmjax.huggingface.families import family_of
from plmjax.models import bert
from plmjax.nn.implementations import choice
from plmjax.nn.implementations.choice import Asked, cannot, choose
from plmjax.train.workdir import Workdir

TPU = SimpleNamespace(platform="tpu", device_kind="TPU v5")
GPU = SimpleNamespace(platform="gpu", device_kind="NVIDIA H100 80GB HBM3")
CPU = SimpleNamespace(platform="cpu", device_kind="cpu")
ASKED = Asked(
    device=TPU,
    rows=8,
    queries=1024,
    keys=1024,
    heads=12,
    head_size=64,
    row_parts=4,
    head_parts=2,
    key_parts=1,
    dtype="bfloat16",
    dropout=0.0,
    relative=False,
    cached=False,
    gathered=False,
    near=False,
)
DEVICES = {"splash": TPU, "cudnn": GPU, "ring": CPU}


def asked(name: str, **changes) -> Asked:
    return dataclasses.replace(ASKED, **({"device": DEVICES[name]} | changes))


@pytest.mark.parametrize("name", DEVICES)
def test_what_is_asked_for_can_be_done(name):
    assert cannot(name, asked(name)) is None
    assert cannot(name, asked(name, heads=4, rows=4, head_size=128, queries=512)) is None


@pytest.mark.parametrize(
    ("names", "changes", "word"),
    [
        ("splash cudnn ring", {"dropout": 0.1}, "attention_dropout=0.1"),
        ("splash cudnn ring", {"relative": True}, "relative positions"),
        ("splash cudnn ring", {"cached": True}, "cache"),
        ("splash cudnn ring", {"rows": 6}, "6 rows"),
        ("splash cudnn ring", {"heads": 3}, "3 heads"),
        ("splash cudnn", {"device": CPU}, "the devices are cpu"),
        ("splash cudnn", {"gathered": True}, "'gather'"),
        ("splash", {"queries": 100}, "100 queries"),
        ("splash", {"keys": 1000}, "1000 keys"),
        ("cudnn", {"device": SimpleNamespace(platform="gpu", device_kind="AMD MI300")}, "NVIDIA"),
        ("cudnn", {"dtype": "float32"}, "float32"),
        ("cudnn", {"head_size": 256}, "256 wide"),
        ("cudnn", {"head_size": 20}, "20 wide"),
        ("ring", {"key_parts": 3}, "3 parts"),
    ],
)
def test_what_cannot_be_done_has_a_reason(names, changes, word):
    for name in names.split():
        assert word in cannot(name, asked(name, **changes))
        if name != "ring":
            with pytest.raises(UserError, match=f"attention_implementation='{name}'") as error:
                choose(name, asked(name, **changes))
            assert word in str(error.value)
            assert "\n" not in str(error.value)
            assert choose("auto", asked(name, **changes)) == "xla"
    assert choose("xla", asked(names.split()[0], **changes)) == "xla"


@pytest.mark.parametrize(("device", "name"), [(TPU, "splash"), (GPU, "cudnn"), (CPU, "xla")])
def test_auto_follows_the_devices(device, name, capsys):
    assert choose("auto", asked("ring", device=device)) == name
    assert capsys.readouterr().err == ""


def test_what_auto_does_without_is_said_once(capsys):
    choice._say_once.cache_clear()
    for _ in range(3):
        assert choose("auto", asked("splash", dropout=0.25)) == "xla"
        assert choose("auto", asked("splash", dropout=0.25, heads=4)) == "xla"
        assert choose("auto", asked("cudnn", near=True)) == "xla"
        assert choose("auto", asked("splash", keys=128, queries=128)) == "xla"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("Attention: splash is not used, XLA computes it: ")
    assert "attention_dropout=0.25" in lines[0]
    assert "narrow window" in lines[1]
    assert "128 places" in lines[2]


def test_a_run_goes_on_and_is_exported_whatever_computes_its_attention(tmp_path):
    config = bert.PRESETS["tiny"]
    other = dataclasses.replace(
        config, attention_implementation="splash", sequence_attention="ring"
    )
    assert family_of("bert", other) == family_of("bert", config)
    work, corpus = Workdir(tmp_path / "run"), {"digest": "d"}
    work.begin({"model": dataclasses.asdict(config)}, corpus, 1)
    work.check_same_run({"model": dataclasses.asdict(other)}, corpus)
    heads = dataclasses.replace(config, num_heads=4)
    with pytest.raises(UserError, match=r"model\.num_heads was 2, is 4"):
        work.check_same_run({"model": dataclasses.asdict(heads)}, corpus)
