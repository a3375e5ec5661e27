"""Texts of a GPT-2 against those of Hugging Face's `generate` with its cache, here, in turn.

  python -m tests.peers.decode --config=configs/gpt.py:gpt2-small --config.model.dtype=float32

Both go on with the same number of random prompts of the same length, the best token each time, in
float32, with random weights and the same number of threads, and no text ends before the last token.
The peer is GPT2LMHeadModel as it comes, with scaled dot-product attention; it has a process of its
own. Beside the time on the clock, on a machine that others use too, stands the time of processors.
"""

import multiprocessing
import resource
import statistics
import time

import numpy as np
import torch
from absl import flags
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from plmjax import cli, experiment
from plmjax.decoding.settings import DecodingConfig
from plmjax.decoding_speed import fresh_generator

CONFIG = cli.define_config_flag()
ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed rounds, of each in turn.")
ROWS = flags.DEFINE_list("rows", ["1", "16"], "Texts at once.")
PROMPT_LENGTH = flags.DEFINE_integer("prompt_length", 64, "Tokens of each prompt.")
NEW_TOKENS = flags.DEFINE_integer("new_tokens", 64, "Tokens that each gets.")


def processors() -> float:
    """Seconds of processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def serve(pipe, config, prompts, new):
    """Goes on with so many prompts as each message says; answers with both times it took."""
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.max_positions,
            n_embd=config.hidden_size,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            n_inner=config.mlp_size,
        )
    ).eval()
    # No token ends a text.
    model.generation_config = GenerationConfig(pad_token_id=0)
    pipe.send((sum(p.numel() for p in model.parameters()), torch.get_num_threads()))
    while rows := pipe.recv():
        begin, used = time.perf_counter(), processors()
        given = torch.tensor(prompts[:rows])
        with torch.inference_mode():
            found = model.generate(
                given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=new,
                do_sample=False,
                use_cache=True,
            )
        assert found.shape == (rows, given.shape[1] + new)
        pipe.send((time.perf_counter() - begin, processors() - used))


def main() -> int:
    settings = experiment.resolved(experiment.read_settings(CONFIG.value), None, None)
    config, rows = experiment.model_config(settings), [int(word) for word in ROWS.value]
    length, new = PROMPT_LENGTH.value, NEW_TOKENS.value
    prompts = np.random.default_rng(0).integers(config.vocab_size, size=(max(rows), length))
    prompts = prompts.tolist()
    generator = fresh_generator(settings, max(rows))
    pipe, theirs_end = multiprocessing.Pipe()
    arguments = (theirs_end, config, prompts, new)
    multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True).start()
    their_parameters, threads = pipe.recv()
    print(f"{their_parameters:,} parameters; {length} + {new} tokens; torch has {threads} threads")

    def ours(count):
        begin, used = time.perf_counter(), processors()
        found = generator.generate(prompts[:count], DecodingConfig(max_new_tokens=new))
        assert all(len(one.tokens) == new for (one,) in found)
        return time.perf_counter() - begin, processors() - used

    def theirs(count):
        pipe.send(count)
        return pipe.recv()

    times = {count: [] for count in rows}
    for round_ in range(ROUNDS.value + 1):
        for count in rows:
            measured = ours(count), theirs(count)
            if round_:  # the first compiles
                times[count].append(measured)
                (a, _), (b, _) = measured
                print(
                    f"round {round_}, batch {count}: ours {a:.2f} s, theirs {b:.2f} s", flush=True
                )
    pipe.send(0)
    for count, measured in times.items():
        for kind, name in enumerate(("clock", "processors")):
            pairs = [(mine[kind], other[kind]) for mine, other in measured]
            speeds = [count * new / statistics.median(some) for some in zip(*pairs, strict=True)]
            ratios = sorted(other / mine for mine, other in pairs)
            print(
                f"batch {count}, {name}: ours {speeds[0]:,.1f} tokens/s, theirs {speeds[1]:,.1f};"
                f" ratio, round by round: median {statistics.median(ratios):.2f},"
                f" {ratios[0]:.2f} to {ratios[-1]:.2f}"
            )
    return 0


if __name__ == "__main__":
    cli.run(main, CONFIG, __doc__)
