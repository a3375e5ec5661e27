"""Multiple choice: RACE and the Story Cloze Test.

  python -m plmjax.main --config=configs/finetune/choice.py:race,init_from=RUN \
      --config.task.folder=RACE --workdir=TUNED

The argument is a set: race, story_cloze; and the workdir of a run. With fresh=true the backbone
begins anew. Of RACE --config.task.folder=RACE has the folders train, dev and test. The Story Cloze
Test is learned from its validation set and measured on its test set, as GPT-1 was; the csv of 2016
has the answers of both. COPA is in superglue.py, C3 in clue.py.

RACE as RoBERTa learned it (fairseq, examples/roberta/README.race.md): batches of 16, 5 epochs at a
constant 1e-5. The Story Cloze Test as GPT-1 learned all its tasks (finetune-transformer-lm):
batches of 32, 3 epochs at 6.25e-5, 0.2% of them warm-up.
"""

from plmjax.recipes import Recipe, Tuning, benchmark_config

PUBLISHED = {
    "race": Tuning("race", Recipe(16, 1e-5, 5, 512, 0.0, schedule="constant")),
    "story_cloze": Tuning(
        "story_cloze", Recipe(32, 6.25e-5, 3, 128, 0.002), {"train": "dev", "dev": "test"}
    ),
}


def get_config(argument=None):
    return benchmark_config(argument, PUBLISHED)
