"""Any family at any published size, with a plain recipe: where a config of its own is missing.

  python -m plmjax.main --config=configs/family.py:roberta,size=base --config.corpus.store=FOLDER

The argument is a family of the README's table and a size, and may choose seq_len, another plan of
what an example is and another masking; without them they are what the family's objective begins
with. AdamW, 10,000 steps of linear warm-up to 1e-4 and linear decay, batches of 256: sound, and of
no publication. Without a store the text is the documentation on this machine with a WordPiece
trained on it, which is for trying things and far too little for most sizes.
"""

from plmjax.data.batch_form import masking_config, plan_config
from plmjax.experiment import default_config
from plmjax.families import FAMILIES
from plmjax.settings import choose, parse_argument


def get_config(argument=None):
    given = parse_argument(
        argument, "family", family="bert", size="", seq_len=0, plan="", masking=""
    )
    presets = choose(given.family, FAMILIES, "the family").presets
    config = default_config(given.family, given.size or next(iter(presets)))
    config.model.vocab_size = 0  # the tokenizer's
    config.model.dtype = "auto"

    config.data.batch_size = 256
    config.data.seq_len = given.seq_len or 128
    if given.plan:
        config.data.plan = plan_config(given.plan)
    elif config.data.plan.name == "sentence_pairs":
        config.data.plan = plan_config("doc_sentences")
    if given.masking:
        config.data.masking = masking_config(given.masking)

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.schedule = "linear"
    config.optimizer.warmup_steps = 10_000
    config.optimizer.weight_decay = 0.01

    config.train.steps = 100_000
    config.evaluation.every = 5_000
    config.checkpoint.every = 5_000
    return config
