"""CLUE (Xu et al. 2020): its tasks, from a pretrained run.

  python -m plmjax.main --config=configs/finetune/clue.py:tnews,init_from=RUN \
      --config.task.folder=tnews_public --workdir=TUNED
  python -m plmjax.evaluate --model=TUNED --data=test --submission=tnews11_predict.json

The argument is a task: afqmc, tnews, iflytek, cmnli, ocnli, cluewsc, csl, cluener, cmrc2018, chid,
c3; and the workdir of a run, pretrained here or imported from Hugging Face's files. With fresh=true
the backbone begins anew. The folder has the files of the task as cluebenchmarks.com has them.

Of CLUEWSC the noun and the pronoun are marked as _noun_ and [pronoun]; of ChID candidates that
texts share are used once each, with --config.task.metric=chid_optimal so that their scores sum up
highest.

Batches, epochs, learning rates and lengths of rows are those of CLUE's PyTorch baselines for
BERT-base (CLUEbenchmark/CLUE, baselines/models_pytorch, run_classifier_*.sh and run_mrc_*.sh;
CLUENER2020, run_ner_softmax.sh).
"""

from plmjax.recipes import Recipe, benchmark_config, suite

BERT = {
    "afqmc": Recipe(16, 2e-5, 3),
    "tnews": Recipe(16, 2e-5, 3),
    "iflytek": Recipe(16, 2e-5, 3),
    "cmnli": Recipe(16, 3e-5, 3),
    "ocnli": Recipe(16, 3e-5, 2),
    "cluewsc": Recipe(16, 1e-5, 50),
    "csl": Recipe(8, 1e-5, 5, 256),
    "cluener": Recipe(24, 3e-5, 4),
    "cmrc2018": Recipe(32, 3e-5, 2, 512),
    "chid": Recipe(24, 2e-5, 3, 64, 0.06),
    "c3": Recipe(24, 2e-5, 8, 512, 0.05),
}


def get_config(argument=None):
    return benchmark_config(argument, suite("clue", BERT))
