"""Questions answered by a span of a text: SQuAD 1.1 and 2.0, and in Chinese CMRC 2018 and DRCD.

  python -m plmjax.main --config=configs/finetune/squad.py:squad2,init_from=RUN \
      --config.task.folder=squad --workdir=TUNED
  python -m plmjax.evaluate --model=TUNED --data=dev --submission=predictions.json

The argument is a set: squad1, squad2, cmrc2018, drcd; and the workdir of a run. With fresh=true the
backbone begins anew. The folder has the published files. A run on squad1 answers XQuAD (ar, de, el,
en, es, hi, ro, ru, th, tr, vi, zh), which has no training set:

  python -m plmjax.evaluate --model=TUNED --benchmark=xquad/de --folder=xquad --data=test

Of squad2 no answer is given above the threshold that did best on the development set.

SQuAD as in google-research/bert's README: 1.1 with BERT-base in batches of 12, 2.0 with BERT-large
in batches of 24, 2 epochs at 3e-5, rows of 384 tokens. CMRC and DRCD as in CLUE's baselines
(run_mrc_cmrc2018.sh, run_mrc_drcd.sh).
"""

from plmjax.recipes import Recipe, Tuning, benchmark_config

BERT = {
    "squad1": Tuning("squad1", Recipe(12, 3e-5, 2, 384)),
    "squad2": Tuning("squad2", Recipe(24, 3e-5, 2, 384)),
    "cmrc2018": Tuning("clue/cmrc2018", Recipe(32, 3e-5, 2, 512)),
    "drcd": Tuning("drcd", Recipe(32, 3e-5, 2, 512)),
}


def get_config(argument=None):
    return benchmark_config(argument, BERT)
