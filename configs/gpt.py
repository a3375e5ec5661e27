"""GPT-1 to GPT-3, Megatron's GPT-2, CPM-1 and PanGu-alpha at their published sizes and batches.

  python -m plmjax.prepare --out=STORE --tokenizer=gpt2 --vocab_size=50257 \
      --source='web=text:/data/*.txt'
  python -m plmjax.main --config=configs/gpt.py:gpt3-175b --config.corpus.store=STORE

The argument is a size of the family (plmjax/models/gpt.py): gpt1, gpt2-small to -xl, gpt3-125m to
-175b, megatron-355m, -2.5b, -8.3b, cpm-small to -large (2.6B), pangu-2.6b, -13b, -200b. For CPM and
PanGu-alpha prepare with --tokenizer=cpm and their 30000 and 40000 tokens.

Published, and what was left open:
  GPT-1: batches of 64 x 512 tokens, Adam at 2.5e-4, 2,000 steps of warm-up, cosine to 0, decay 0.01
    of what is no bias or gain, dropout 0.1, 100 epochs of BooksCorpus; 3M steps here.
  GPT-2: batches of 512 x 1024. Rate, steps and the rest are not published: GPT-3's of the size next
    to it and 300,000 steps here.
  Megatron: 512 x 1024 tokens on 512 V100, 8 ways tensor parallel (its README). 300,000 steps at
    1.5e-4, 3,000 of warm-up, cosine to 1e-5, decay 0.01 (Shoeybi et al. 2019, section 4).
  GPT-3: its table 2.1 and appendix B: batches of 0.5M to 3.2M tokens in rows of 2,048, Adam with
    betas 0.9 and 0.95 and eps 1e-8, decay 0.1, clipping at 1, 300 billion tokens, 375 million of
    warm-up, a cosine to a tenth of the peak at 260 billion, where it stays, documents joined by
    <|endoftext|> without a mask between them, V100. Not here: its batch grows from 32k tokens over
    the first 4 to 12 billion. Not published: dropout (none here), and the width of the bands (256,
    see the presets).
  CPM-1: batches of 3,072 x 1024 tokens, 20,000 steps, 5,000 of warm-up to 1.5e-4, 64 V100 (its
    README). The decay is not published: linear here, and 0.01 of weight decay.
  PanGu-alpha: rates, second betas, decays and steps are its report's table; rows of 1,024 tokens,
    documents told apart, 512 to 2,048 Ascend 910. Sequences of a batch are not in the sources at
    hand: 512, 1,024 and 2,048 here; cosine, with 2,000 steps of warm-up.

Meant for, with layers rematerialised in full:
  TPU v5p:8x8x16, 1,024 chips: gpt3-175b and pangu-200b, fsdp 128 x tensor 4, two copies;
  TPU v4:4x4x4, 64 chips: all others, everything split over all chips.
"""

import dataclasses

from plmjax.data.batch_form import plan_config
from plmjax.experiment import default_config
from plmjax.settings import choose, parse_argument
from plmjax.train.optimizers import NORMS_AND_BIASES


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a size was trained. rows: sequences of a batch, of `length` tokens."""

    rows: int
    length: int
    rate: float
    steps: int
    warmup: int
    accumulate: int = 1
    schedule: str = "cosine"
    final: float = 0.1
    until: float = 1.0
    b2: float = 0.95
    eps: float = 1e-8
    decay: float = 0.1
    dropout: float = 0.1


def gpt2(rate: float, accumulate: int = 1) -> Recipe:
    return Recipe(512, 1024, rate, 300_000, 2_000, accumulate)


def gpt3(rows: int, rate: float, accumulate: int = 1) -> Recipe:
    tokens = rows * 2048
    steps, warmup = round(300e9 / tokens), round(375e6 / tokens)
    return Recipe(rows, 2048, rate, steps, warmup, accumulate, until=26 / 30, dropout=0.0)


MEGATRON = Recipe(512, 1024, 1.5e-4, 300_000, 3_000, 2, final=1 / 15, b2=0.999, decay=0.01)
CPM = Recipe(3072, 1024, 1.5e-4, 20_000, 5_000, 6, "linear", 0.0, b2=0.999, decay=0.01)
RECIPES = {
    "gpt1": Recipe(64, 512, 2.5e-4, 3_000_000, 2_000, final=0.0, b2=0.999, decay=0.01),
    "gpt2-small": gpt2(6e-4),
    "gpt2-medium": gpt2(3e-4),
    "gpt2-large": gpt2(2.5e-4),
    "gpt2-xl": gpt2(2e-4),
    "megatron-355m": MEGATRON,
    "megatron-2.5b": MEGATRON,
    "megatron-8.3b": MEGATRON,
    "cpm-small": CPM,
    "cpm-medium": CPM,
    "cpm-large": CPM,
    "gpt3-125m": gpt3(256, 6e-4),
    "gpt3-350m": gpt3(256, 3e-4),
    "gpt3-760m": gpt3(256, 2.5e-4),
    "gpt3-1.3b": gpt3(512, 2e-4, 2),
    "gpt3-2.7b": gpt3(512, 1.6e-4, 2),
    "gpt3-6.7b": gpt3(1024, 1.2e-4, 4),
    "gpt3-13b": gpt3(1024, 1e-4, 4),
    "gpt3-175b": gpt3(1536, 6e-5),
    "pangu-2.6b": Recipe(512, 1024, 1e-4, 70_000, 2_000, b2=0.999, decay=0.01),
    "pangu-13b": Recipe(1024, 1024, 5e-5, 84_000, 2_000, 2, b2=0.98, decay=0.01),
    "pangu-200b": Recipe(2048, 1024, 2e-5, 260_000, 2_000),
}
LARGEST = ("gpt3-175b", "pangu-200b")


def get_config(argument=None):
    given = parse_argument(argument, "size", size="gpt2-small", seq_len=0)
    recipe = choose(given.size, RECIPES, "the size")
    config = default_config("gpt", given.size)
    published = config.model.vocab_size
    config.model.vocab_size = 0  # the tokenizer's
    if given.size.startswith("megatron"):
        config.model.vocab_multiple = 1024  # 51200 rows, of which GPT-2's tokenizer has 50257
    config.model.hidden_dropout = recipe.dropout
    config.model.attention_dropout = recipe.dropout
    config.model.dtype = "bfloat16"
    config.model.remat = "full"
    chinese = given.size.startswith(("cpm", "pangu"))
    config.corpus.tokenizer = "cpm" if chinese else "gpt2"
    config.corpus.vocab_size = 50_257 if given.size.startswith("megatron") else published

    config.data.seq_len = given.seq_len or recipe.length
    config.data.batch_size = recipe.rows
    config.data.frame = "eod"
    apart = given.size.startswith("pangu")
    # The last token of a row is nobody's input: the next row begins with it.
    config.data.plan = plan_config("blocks", isolate=apart, overlap=1)

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = recipe.rate
    config.optimizer.schedule = recipe.schedule
    config.optimizer.final_fraction = recipe.final
    config.optimizer.decay_until = recipe.until
    config.optimizer.warmup_steps = recipe.warmup
    config.optimizer.b2 = recipe.b2
    config.optimizer.eps = recipe.eps
    config.optimizer.weight_decay = recipe.decay
    config.optimizer.exclude_from_decay = NORMS_AND_BIASES

    config.train.steps = recipe.steps
    config.train.accumulate = recipe.accumulate
    config.evaluation.every = 5_000
    config.checkpoint.every = 1_000
    largest = given.size in LARGEST
    config.mesh.data = -1 if largest else 1
    config.mesh.fsdp = 128 if largest else -1
    config.mesh.tensor = 4 if largest else 1
    if largest:
        # Split by tensor too, the residual of these sizes makes libtpu 0.0.42 crash.
        config.sharding.residual_length = "sequence"
    return config
