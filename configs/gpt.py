"""GPT-1 to GPT-3, Megatron's GPT-2, CPM-1 and PanGu-alpha at their published sizes and batches.

  python -m plmjax.prepare --out=STORE --tokenizer=gpt2 --vocab_size=50257 \
      --source='web=text:/data/*.txt'
  python -m plmjax.main --config=configs/gpt.py:gpt3-175b --config.corpus.store=STORE

The argument is a size of the family (plmjax/models/gpt.py): gpt1, gpt2-small to -xl, gpt3-125m to
-175b, megatron-355m, -2.5b, -8.3b (or -8b), cpm-small to -large (or cpm-2.6b), pangu-2.6b, -13b and
-200b. For CPM and PanGu-alpha prepare with --tokenizer=cpm and their 30000 and 40000 tokens.

Rows are a stream of documents with the end of text behind each, cut every so many tokens. Attention
crosses from one document to the next, as published, but in PanGu-alpha;
--config.data.plan.isolate=True tells documents apart. Weights begin with deviation 0.02, those that
add to the residual with that by the root of their number (not GPT-1's), positions with 0.01.

Published, and OPEN, what the sources at hand leave so and what stands here instead:
  GPT-1: batches of 64 x 512 tokens, Adam at 2.5e-4, 2,000 steps of warm-up, cosine to 0, decay 0.01
    of what is no bias or gain, dropout 0.1, 100 epochs of BooksCorpus. OPEN: steps, 3M here, and
    what stands between documents. A byte-level BPE of its size takes the place of its own.
  GPT-2: batches of 512 x 1024. OPEN: rate, schedule, optimizer, decay, dropout, steps: GPT-3's of
    the size next to it, 0.1 and 300,000 here.
  Megatron: 512 x 1024 tokens on 512 V100, 8 ways tensor parallel (its README). 300,000 steps at
    1.5e-4, 3,000 of warm-up, cosine to 1e-5, decay 0.01, dropout 0.1 (Shoeybi et al. 2019, section
    4). Its old scheduler ends its cosine a warm-up after the run, floored at 1e-5; here at the end.
  GPT-3: its table 2.1 and appendix B: batches of 0.5M, 1M, 2M and 3.2M tokens in rows of 2,048;
    they grow linearly from 32k tokens over the first 4 to 12 billion, depending on the size. Adam
    with betas 0.9 and 0.95 and eps 1e-8, decay 0.1, clipping at 1, 300 billion tokens, 375 million
    of warm-up, a cosine to a tenth of the peak at 260 billion, where it stays, documents joined by
    <|endoftext|> without a mask between them, V100. OPEN: which size grows over how many tokens (up
    to 760M 4 billion, to 2.7B 6, to 13B 8, 175B 12 here), dropout (none here), the bands (256 wide,
    see the presets). 3.2M tokens are 1,536 rows here, which divide by a mesh.
  CPM-1: batches of 3,072 x 1024 tokens, 20,000 steps, 5,000 of warm-up to 1.5e-4, 64 V100 (its
    README). OPEN: the shape of the decay, linear here, and weight decay, 0.01 here.
  PanGu-alpha: rates, second betas, decays and steps are its report's table; dropout 0.1, rows of
    1,024 tokens, documents told apart, 512 to 2,048 Ascend 910. Its code has other rates, for 200B
    6e-5 to 6e-6. OPEN: sequences of a batch, 512, 1,024 and 2,048 here; the warm-up, 2,000 steps of
    a cosine to a tenth here.

Meant for, with layers rematerialised in full:
  TPU v5p:8x8x16, 1,024 chips: gpt3-175b and pangu-200b, fsdp 128 x tensor 4, two copies;
  TPU v4:4x4x4, 64 chips: all others, everything split over all chips.
A growing batch has shapes of so many rows that they divide by these meshes (config.ramp).
"""

import dataclasses

from plmjax.data.batch_form import plan_config
from plmjax.data.ramp import RampConfig, steps_for
from plmjax.experiment import default_config
from plmjax.settings import choose, parse_argument, to_config
from plmjax.train.optimizers import NORMS_AND_BIASES


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a size was trained.

    rows: sequences of a batch, of `length` tokens. grows: over how many tokens it becomes that.
    """

    rows: int
    length: int
    rate: float
    steps: int
    warmup: int
    accumulate: int = 1
    grows: int = 0
    schedule: str = "cosine"
    final: float = 0.1
    b2: float = 0.95
    eps: float = 1e-8
    decay: float = 0.1
    dropout: float = 0.1


def gpt2(rate: float, accumulate: int = 1) -> Recipe:
    return Recipe(512, 1024, rate, 300_000, 2_000, accumulate)


def gpt3(rows: int, rate: float, billions: int, accumulate: int = 1) -> Recipe:
    """Its steps and warm-up are counted in tokens, and follow from the others."""
    return Recipe(rows, 2048, rate, 0, 0, accumulate, billions * 10**9, dropout=0.0)


MEGATRON = Recipe(512, 1024, 1.5e-4, 300_000, 3_000, 2, final=1 / 15, b2=0.999, decay=0.01)
LINEAR = {"schedule": "linear", "final": 0.0}
CPM = Recipe(3072, 1024, 1.5e-4, 20_000, 5_000, 6, **LINEAR, b2=0.999, decay=0.01)
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
    "gpt3-125m": gpt3(256, 6e-4, 4),
    "gpt3-350m": gpt3(256, 3e-4, 4),
    "gpt3-760m": gpt3(256, 2.5e-4, 4),
    "gpt3-1.3b": gpt3(512, 2e-4, 6, 2),
    "gpt3-2.7b": gpt3(512, 1.6e-4, 6, 2),
    "gpt3-6.7b": gpt3(1024, 1.2e-4, 8, 4),
    "gpt3-13b": gpt3(1024, 1e-4, 8, 4),
    "gpt3-175b": gpt3(1536, 6e-5, 12),
    "pangu-2.6b": Recipe(512, 1024, 1e-4, 70_000, 2_000, b2=0.999, decay=0.01),
    "pangu-13b": Recipe(1024, 1024, 5e-5, 84_000, 2_000, 2, b2=0.98, decay=0.01),
    "pangu-200b": Recipe(2048, 1024, 2e-5, 260_000, 2_000),
}
ALSO = {"megatron-8b": "megatron-8.3b", "cpm-2.6b": "cpm-large"}
LARGEST = ("gpt3-175b", "pangu-200b")
FIRST_ROWS = 16  # GPT-3's batch of 32k tokens
WARMUP, DECAY, TOTAL = 375_000_000, 260_000_000_000, 300_000_000_000  # tokens of GPT-3


def get_config(argument=None):
    given = parse_argument(argument, "size", size="gpt2-small", seq_len=0)
    size = ALSO.get(given.size, given.size)
    recipe = choose(size, RECIPES, "the size")
    config = default_config("gpt", size)
    published = config.model.vocab_size
    config.model.vocab_size = 0  # the tokenizer's
    if size.startswith("megatron"):
        config.model.vocab_multiple = 1024  # 51200 rows, of which GPT-2's tokenizer has 50257
    config.model.hidden_dropout = recipe.dropout
    config.model.attention_dropout = recipe.dropout
    config.model.dtype = "bfloat16"
    config.model.remat = "full"
    chinese = size.startswith(("cpm", "pangu"))
    config.corpus.tokenizer = "cpm" if chinese else "gpt2"
    config.corpus.vocab_size = 50_257 if size.startswith("megatron") else published

    config.data.seq_len = given.seq_len or recipe.length
    config.data.batch_size = recipe.rows
    config.data.frame = "eod"
    apart = size.startswith("pangu")
    # The last token of a row is nobody's input: the next row begins with it.
    config.data.plan = plan_config("blocks", isolate=apart, overlap=1)

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = recipe.rate
    config.optimizer.schedule = recipe.schedule
    config.optimizer.final_fraction = recipe.final
    config.optimizer.warmup_steps = recipe.warmup
    config.optimizer.b2 = recipe.b2
    config.optimizer.eps = recipe.eps
    config.optimizer.weight_decay = recipe.decay
    config.optimizer.exclude_from_decay = NORMS_AND_BIASES

    config.train.steps = recipe.steps
    config.train.accumulate = recipe.accumulate
    if recipe.grows:
        # Parts of the batch on the mesh below, times microbatches.
        multiple = (256 if size in LARGEST else 64) * recipe.accumulate
        ramp = RampConfig(FIRST_ROWS, recipe.grows, multiple)
        config.ramp = to_config(ramp)
        config.optimizer.warmup_tokens = WARMUP
        config.optimizer.decay_tokens = DECAY
        config.train.steps = steps_for(TOTAL, ramp, recipe.rows, config.data.seq_len)
    config.evaluation.every = 5_000
    config.checkpoint.every = 1_000
    largest = size in LARGEST
    config.mesh.data = -1 if largest else 1
    config.mesh.fsdp = 128 if largest else -1
    config.mesh.tensor = 4 if largest else 1
    if largest:
        # Split by tensor too, the residual of these sizes makes libtpu 0.0.42 crash.
        config.sharding.residual_length = "sequence"
    return config
