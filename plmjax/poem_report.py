"""Measures the poems that a model writes: python -m plmjax.poem_report --model=RUN --poems=poems

--model=PATH       the model
--poems=FOLDER     the corpus that python -m plmjax.poems made, whose held-out poems are measured
                   beside those of the model, and give it their themes
--forms=LIST       wujue,qijue (default), wulu, qilu, couplet, ci; acrostic_wujue and so on for
                   acrostics of the first characters of held-out poems
--count=N          poems of each (default 500); --seed=S of the first, those of others follow
--rhyme_book=FILE  lines of tone, rhyme and characters, '平 一东 东同铜'; without, rhymes and tones
                   are today's (needs pypinyin)
--out=FILE         where all poems go, as JSON lines
--temperature=T --top_k=K --batch_size=N    of the draws (default 1, 3, 50)
"""

import json
import time
from collections.abc import Sequence

from absl import flags

from plmjax import cli
from plmjax.errors import UserError

_MODEL = flags.DEFINE_string("model", None, "A run's workdir.")
_POEMS = flags.DEFINE_string("poems", None, "A corpus of python -m plmjax.poems.")
_FORMS = flags.DEFINE_list("forms", ["wujue", "qijue"], "Forms, acrostic_FORM for acrostics.")
_COUNT = flags.DEFINE_integer("count", 500, "Poems of each form.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the first poem.", lower_bound=0)
_BOOK = flags.DEFINE_string("rhyme_book", "", "A rhyme book.")
_OUT = flags.DEFINE_string("out", "", "A file for the poems.")
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Of the draws.")
_TOP_K = flags.DEFINE_integer("top_k", 3, "Of the draws; 0 for all characters.")
_BATCH = flags.DEFINE_integer("batch_size", 50, "Poems at once.", lower_bound=1)
cli.define_cache_flags()


def main(_: Sequence[str]) -> int:
    """Writes, measures and prints; returns the exit code."""
    for flag, example in ((_MODEL, "runs/yuefu-demo"), (_POEMS, "poems")):
        if not flag.value:
            raise UserError(f"--{flag.name} is missing, for example --{flag.name}={example}")
    from plmjax import reported_poems
    from plmjax.asked_poems import RELEASED, PoemWriter
    from plmjax.decoding.settings import DecodingConfig
    from plmjax.evals.poetry.report import table
    from plmjax.evals.poetry.sounds import mandarin, rhyme_book
    from plmjax.loaded import load_model

    sounds = rhyme_book(_BOOK.value) if _BOOK.value else mandarin()
    chosen = RELEASED | {"temperature": _TEMPERATURE.value, "top_k": _TOP_K.value}
    corpus = reported_poems.Corpus.read(_POEMS.value)
    loaded = load_model(_MODEL.value)
    known = loaded.tokenizer.ids
    wanted = [corpus.asked(name, _COUNT.value, known) for name in _FORMS.value]
    writer = PoemWriter(loaded, DecodingConfig(**chosen), _BATCH.value)
    written, begin = [], time.monotonic()
    for poems in wanted:
        written.append(list(writer.write(poems, range(_SEED.value, _SEED.value + len(poems)))))
    seconds = time.monotonic() - begin
    if _OUT.value:
        with open(_OUT.value, "w", encoding="utf-8") as file:
            for one in (one for some in written for one in some):
                file.write(json.dumps(one.as_dict(), ensure_ascii=False) + "\n")
    found = {}
    for name, poems in zip(_FORMS.value, written, strict=True):
        found |= reported_poems.compared(name, poems, corpus, sounds)
    print(table(found))
    count = sum(map(len, written))
    print(
        f"\n{count} poems of {_MODEL.value} in {seconds:.0f} s; people's are held out of training."
    )
    return 0


if __name__ == "__main__":
    cli.run_without_config(main, __doc__, computes=True)
