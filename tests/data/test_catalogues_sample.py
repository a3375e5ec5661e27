"""`sample:catalogues`: packages' messages, each held out in all languages or in none."""

import importlib.metadata
import itertools
import os

import pytest

from plmjax.data.catalogues_sample import CataloguesSample, _messages_of, _sample
from plmjax.data.preparation import CorpusConfig, prepare
from plmjax.data.samples import SAMPLES
from plmjax.errors import UserError
from tests.data import catalogues


@pytest.fixture
def installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(catalogues.install(tmp_path / "site")))
    clear()
    yield
    clear()


def clear():
    _messages_of.cache_clear()
    _sample.cache_clear()


@pytest.mark.usefixtures("installed")
def test_messages_come_alone_and_with_their_translation():
    pairs = list(SAMPLES["catalogues.en-fr"]().documents())
    assert len(pairs) == 600 and len({document.group for document in pairs}) == 600
    alone = {
        language: list(SAMPLES[f"catalogues.{language}"]().documents()) for language in ("en", "fr")
    }
    for pair, english, french in zip(pairs, alone["en"], alone["fr"], strict=True):
        assert pair.whole and pair.pieces == [*english.pieces, *french.pieces]
        assert pair.group == english.group == french.group == pair.pieces[0]
    assert pairs[0].pieces == ["a editor a a 196.", "un éditeur un un 196."]
    sizes = []
    list(SAMPLES["catalogues.fr"]().documents(sizes.append))
    assert sizes == [SAMPLES["catalogues.fr"]().total_bytes]


@pytest.mark.usefixtures("installed")
def test_what_is_held_out_is_held_out_in_every_language(tmp_path):
    source = ";".join(f"{name}=sample:catalogues.{name}" for name in ("en", "fr", "en-fr", "en-de"))
    config = CorpusConfig(
        source=source,
        cache_dir=str(tmp_path),
        tokenizer="sentencepiece",
        vocab_size=110,
        held_out=0.1,
    )
    corpus = prepare(config, quiet=True)
    assert list(corpus.train) == ["en", "fr", "en-fr", "en-de"]
    texts = {}
    for name, split in corpus.held_out.items():
        ids = [
            split.sentence_offsets[split.document_offsets[n]] for n in range(split.documents + 1)
        ]
        tokens = next(iter(split.blocks()))
        texts[name] = [corpus.tokenizer.decode(tokens[a:b]) for a, b in itertools.pairwise(ids)]
    assert 30 < len(texts["en"]) < 90
    numbers = {name: [t.split(".")[0].split()[-1] for t in found] for name, found in texts.items()}
    assert numbers["en"] == numbers["fr"] == numbers["en-fr"]
    left_out = set(numbers["en"]) - set(numbers["en-de"])  # in German word for word the same
    assert set(numbers["en-de"]) < set(numbers["en"]) and len(left_out) < 5
    assert prepare(config, quiet=True).path == corpus.path
    other = CorpusConfig(**{**vars(config), "source": source.replace("en=", "uk=")})
    assert prepare(other, quiet=True).path != corpus.path


def test_markup_and_menus_marks_are_left_out(monkeypatch):
    clear()
    found = {
        "_Open the <b>file</b>": "_Ouvrir le <b>fichier</b>",
        "Menu\x04Save  &all of it\n": "Tout sau_ver",
        ("%d day is left", 0): "%d jour reste",
        ("%d day is left", 1): "%d jours restent",
        "OK": "D'accord",
        "same in both": "same in both",
    }
    path = "plmjax.data.catalogues_sample"
    monkeypatch.setattr(f"{path}._catalogues", lambda *_: [os.devnull])
    monkeypatch.setattr(
        f"{path}.gettext.GNUTranslations", lambda _: type("", (), {"_catalog": found})
    )
    assert _messages_of("fr") == {
        "Open the file": "Ouvrir le fichier",
        "Save all of it": "Tout sauver",
        "%d day is left": "%d jour reste",
    }
    clear()


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    clear()
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(UserError) as raised:
        list(CataloguesSample(("en", "fr")).documents())
    assert str(raised.value).endswith(
        "gramps is not installed: pip install --no-deps gramps pretix spyder"
    )
