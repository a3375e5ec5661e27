"""The Beam pipeline: its functions on a stand-in for a runner, and the true DirectRunner."""

import collections
import importlib.util
import pickle
import sys
import types

import pytest
from etils import epath

from plmjax.data.building import Hands, Work, build_store
from plmjax.data.progress import Reporter
from plmjax.data.sources import parse_source
from plmjax.data.text_settings import TextSettings
from plmjax.errors import UserError
from tests.data.conftest import make_text

FILES = 5


class Collection:
    """What is between two transforms: elements, which every transform gets from a pickle."""

    def __init__(self, elements, runner):
        self.elements, self.runner = elements, runner

    def __or__(self, transform):
        self.runner.transforms.append(transform)
        return Collection(transform(pickle.loads(pickle.dumps(self.elements))), self.runner)


def stand_in(runner):
    """A module with the names of Apache Beam's that are used; everything runs at once, in turn."""
    beam = types.ModuleType("apache_beam")
    beam.Pipeline = lambda options: runner
    beam.Create = lambda elements: lambda _: list(elements)
    beam.Reshuffle = lambda: lambda elements: elements[::-1]
    beam.Map = lambda function: lambda es: [pickle.loads(pickle.dumps(function))(e) for e in es]
    count = types.SimpleNamespace(Globally=lambda: lambda elements: [len(elements)])
    beam.combiners = types.SimpleNamespace(Count=count)
    options = types.ModuleType("apache_beam.options.pipeline_options")
    options.PipelineOptions = runner.given.append
    parent = types.ModuleType("apache_beam.options")
    return {m.__name__: m for m in (beam, parent, options)}


class Runner(Collection):
    def __init__(self):
        super().__init__([], self)
        self.transforms, self.given = [], []

    def run(self):
        return types.SimpleNamespace(wait_until_finish=lambda: None)


@pytest.fixture
def work(tmp_path):
    for number in range(FILES):
        (tmp_path / f"{number}.txt").write_text(make_text(20, seed=number))
    sources = (parse_source(f"one=text:{tmp_path}/*.txt"), parse_source(f"text:{tmp_path}/0.txt"))
    return Work(sources, TextSettings(vocab_size=300), held_out=0.2)


def built(folder, work, hands=Hands()):  # noqa: B008 (frozen)
    build_store(epath.Path(folder), work, hands, Reporter(quiet=True))
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_pipeline_makes_the_store_of_one_process(work, tmp_path, monkeypatch):
    runner = Runner()
    for name, module in stand_in(runner).items():
        monkeypatch.setitem(sys.modules, name, module)
    hands = Hands(1, "SomeRunner", ("--project=p",))
    assert built(tmp_path / "beam", work, hands) == built(tmp_path / "usual", work)
    assert runner.given == [["--runner=SomeRunner", "--project=p"]]
    assert len(runner.transforms) == 6


def test_bad_input_on_another_machine_is_one_line(work, tmp_path, monkeypatch):
    for name, module in stand_in(Runner()).items():
        monkeypatch.setitem(sys.modules, name, module)
    built(tmp_path / "first", work)  # the tokenizer is trained on good text
    (tmp_path / "3.txt").write_bytes(b"bad \xff\n")
    given = TextSettings(tokenizer_path=str(tmp_path / "first"))
    with pytest.raises(UserError, match=r"3\.txt is not UTF-8: byte 0xff at offset 4"):
        built(tmp_path / "beam", Work(work.sources, given), Hands(1, "SomeRunner"))
    parts = collections.Counter(path.suffix for path in (tmp_path / "beam/parts").iterdir())
    assert parts[".part"] >= 1


needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="pip install apache-beam (in an environment of its own: it wants other versions)",
)


@needs_beam
def test_the_direct_runner_makes_the_store_of_one_process(work, tmp_path):
    hands = Hands(1, "DirectRunner", ("--direct_num_workers=2",))
    assert built(tmp_path / "beam", work, hands) == built(tmp_path / "usual", work)


@needs_beam
def test_bad_input_and_a_wrong_runner_are_one_line_with_beam(work, tmp_path):
    with pytest.raises(UserError, match="--runner=NoRunner"):
        built(tmp_path / "beam", work, Hands(1, "NoRunner"))
    given = TextSettings(tokenizer_path=str(tmp_path / "vocab"))
    (tmp_path / "vocab").mkdir()
    built(tmp_path / "first", work)
    (tmp_path / "vocab/vocab.txt").write_bytes((tmp_path / "first/vocab.txt").read_bytes())
    (tmp_path / "3.txt").write_bytes(b"bad \xff\n")
    with pytest.raises(UserError, match=r"3\.txt is not UTF-8: byte 0xff at offset 4") as raised:
        built(tmp_path / "other", Work(work.sources, given), Hands(1, "DirectRunner"))
    assert "\n" not in str(raised.value)
