"""BERT as published (Devlin et al. 2019): 1M steps, 90 % of them at 128 tokens, then 512.

  python -m plmjax.main --config=configs/bert.py:base --config.corpus.source=text:/data/*.txt

The argument is a size, tiny, mini, small, medium, base or large. It may set the length of the
whole run, which then has one phase, and choose another masking or another plan of what an example
is: --config=configs/bert.py:base,seq_len=512,masking=whole_word,plan=packed

Shape, objective, optimizer (Adam without bias correction), schedule (with its jump at the end of
the warm-up) and masking are those of google-research/bert. Published were 4 (base) and 16 (large)
Cloud TPUs for four days, on BooksCorpus and the English Wikipedia. What differs: masks are drawn
anew in each epoch; set data.plan.dupe_factor=10 for the original's fixed ones. Without a text of
your own it reads the documentation on this machine, which is far too little for these sizes.
"""

from plmjax.data.batch_form import masking_config, plan_config
from plmjax.experiment import default_config
from plmjax.settings import parse_argument


def get_config(argument=None):
    given = parse_argument(
        argument, "size", size="base", seq_len=0, plan="sentence_pairs", masking="token"
    )
    config = default_config("bert", given.size)
    config.model.vocab_size = 0  # the tokenizer's; with the published vocab.txt 30522
    config.model.dtype = "auto"
    config.corpus.vocab_size = 30522

    config.data.batch_size = 256
    config.data.seq_len = given.seq_len or 128
    config.data.plan = plan_config(given.plan)
    config.data.masking = masking_config(given.masking)
    # max_predictions stays 0, for as many as the rate asks for: 19 and 77, where the original has
    # slots for 20 and 77 and fills as many.
    if not given.seq_len:
        config.phases.long = {"start": 0.9, "seq_len": 512}

    config.optimizer.name = "adamw_google"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.schedule = "bert"
    config.optimizer.warmup_steps = 10_000
    config.optimizer.weight_decay = 0.01

    config.train.steps = 1_000_000
    config.evaluation.every = 10_000
    config.checkpoint.every = 5_000
    return config
