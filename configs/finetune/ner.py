"""Names in text: CoNLL-2003, and in Chinese MSRA, Weibo, Resume and CLUENER.

  python -m plmjax.main --config=configs/finetune/ner.py:weibo_ner,init_from=RUN \
      --config.task.folder=Weibo --workdir=TUNED
  python -m plmjax.evaluate --model=TUNED --data=test --submission=tagged.txt

The argument is a set: conll2003, msra_ner, weibo_ner, resume_ner, cluener; and the workdir of a
run. With fresh=true the backbone begins anew. The file that evaluation writes has a token a line,
its true and its predicted tag, as conlleval reads it.

MSRA as in CLUE's baseline (bert_wwm_ext/run_ner_msra.sh), CLUENER as in its own
(run_ner_softmax.sh), both for BERT-base. For the others no settings are published with BERT: they
have run_classifier.py's, and the small sets (Weibo has 1,350 sentences) more epochs.
"""

from plmjax.recipes import Recipe, Tuning, benchmark_config

BERT = {
    "conll2003": Tuning("conll2003", Recipe()),
    "msra_ner": Tuning("msra_ner", Recipe(16, 2e-5, 5, 256)),
    "weibo_ner": Tuning("weibo_ner", Recipe(epochs=10)),
    "resume_ner": Tuning("resume_ner", Recipe(epochs=5)),
    "cluener": Tuning("clue/cluener", Recipe(24, 3e-5, 4)),
}


def get_config(argument=None):
    return benchmark_config(argument, BERT)
