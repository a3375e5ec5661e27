"""Makes a corpus of poems to train on: python -m plmjax.poems --corpus=FOLDER --out=poems

--corpus=FOLDER    files of poems in the JSON layout of chinese-poetry: poet.*.json, ci.*.json
--out=FOLDER       where a file of each form is made, a poem a line; held_out.txt; counts.json with
                   what was left out and why; and vocab.txt, the characters
--script=SCRIPT    simplified (default; needs opencc) or as_is
--held_out=SHARE   of the poems, that is never trained on (default 0.01)
--longest=N        characters of a text, at most; --longest_theme=N of its title
--general=FILES    general text whose characters follow those of the poems in vocab.txt
--vocab_size=N     entries of vocab.txt, at most
"""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from plmjax import cli
from plmjax.data.poetry.corpus import CorpusSettings, build_corpus
from plmjax.data.poetry.vocabulary import write_vocabulary
from plmjax.errors import UserError

_DEFAULTS = CorpusSettings()
_CORPUS = flags.DEFINE_string("corpus", None, "A folder in the layout of chinese-poetry.")
_OUT = flags.DEFINE_string("out", None, "The folder to make.")
_SCRIPT = flags.DEFINE_string("script", _DEFAULTS.script, "simplified or as_is.")
_HELD_OUT = flags.DEFINE_float("held_out", _DEFAULTS.held_out, "Share that is not trained on.")
_LONGEST = flags.DEFINE_integer("longest", _DEFAULTS.longest, "Characters of a text.")
_THEME = flags.DEFINE_integer("longest_theme", _DEFAULTS.longest_theme, "Characters of a title.")
_GENERAL = flags.DEFINE_string("general", "", "General text for vocab.txt, as a glob.")
_SIZE = flags.DEFINE_integer("vocab_size", 21_128, "Entries of vocab.txt.", lower_bound=100)


def main(_: Sequence[str]) -> int:
    """Runs what the flags say; returns the exit code."""
    if not _CORPUS.value or not _OUT.value:
        missing = "--out" if _CORPUS.value else "--corpus"
        raise UserError(
            f"{missing} is missing, for example --corpus=node_modules/chinese-poetry/dist"
            " --out=poems"
        )
    general = sorted(glob.glob(_GENERAL.value))
    if _GENERAL.value and not general:
        raise UserError(f"--general={_GENERAL.value} matches no file; give text files")
    settings = CorpusSettings(_SCRIPT.value, _HELD_OUT.value, _LONGEST.value, _THEME.value)
    counts = build_corpus(_CORPUS.value, _OUT.value, settings)
    out = Path(_OUT.value).expanduser()
    poems = _lines(out / name for name in counts["written"])
    size = write_vocabulary(out / "vocab.txt", poems, _lines(map(Path, general)), _SIZE.value)
    for part, found in counts.items():
        print(f"{part.replace('_', ' ')}:")
        for name, count in found.items():
            print(f"  {count:>9,} {name}")
    print(f"{out}: a vocabulary of {size:,} characters, and")
    sources = [name for name in counts["written"] if name != "held_out.txt"]
    told = " ".join(f"--source={Path(n).stem}=lines:{out / n}" for n in sources)
    print(f"  python -m plmjax.prepare --out=STORE --tokenizer_path={out}/vocab.txt {told}")
    return 0


def _lines(paths) -> Iterator[str]:
    for path in paths:
        with open(path, encoding="utf-8") as file:
            yield from file


if __name__ == "__main__":
    cli.run_without_config(main, __doc__)
