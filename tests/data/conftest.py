import random

import pytest

from plmjax.data.preparation import CorpusConfig, prepare
from tests.data.stores import open_stores, write_stores

_SUBJECTS = ("river", "engine", "teacher", "orchard", "parliament", "violin", "glacier", "market")
_VERBS = ("follows", "repairs", "admires", "crosses", "measures", "forgets", "describes", "paints")
_PLACES = ("harbour", "valley", "library", "station", "kitchen", "meadow", "tunnel", "theatre")


def make_text(documents: int, seed: int = 0) -> str:
    """Documents of 3 to 30 short sentences, one per line, with blank lines between documents."""
    rng = random.Random(seed)
    parts = []
    for number in range(documents):
        topic = rng.choice(_SUBJECTS)
        lines = []
        for _ in range(rng.randint(3, 30)):
            words = [rng.choice(_SUBJECTS) for _ in range(rng.randint(0, 9))]
            place = f"{rng.choice(_PLACES)} {number} of {rng.randint(0, 999)}"
            lines.append(f"The {topic} {rng.choice(_VERBS)} {' '.join(words)} near the {place}.")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


@pytest.fixture
def text_config(tmp_path):
    """A small text and a cache of its own."""
    (tmp_path / "text.txt").write_text(make_text(40))
    return CorpusConfig(
        source=f"text:{tmp_path}/*.txt",
        cache_dir=str(tmp_path / "cache"),
        vocab_size=300,
        held_out=0.2,
    )


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "text.txt").write_text(make_text(150))
    config = CorpusConfig(
        source=f"text:{folder}/text.txt",
        cache_dir=str(folder / "cache"),
        vocab_size=400,
        held_out=0.1,
    )
    return prepare(config, quiet=True)


@pytest.fixture(scope="session")
def stores_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    write_stores(folder)
    return folder


@pytest.fixture(scope="session")
def stores(stores_folder):
    return open_stores(stores_folder)
