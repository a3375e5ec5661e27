"""Writes with a trained model: python -m plmjax.generate --model=RUN --prompt='In the beginning'

--model=PATH       the workdir of a run, or a folder with a model of Hugging Face's: gpt, t5 or bart
--prompt=TEXT      to go on with, or of an encoder-decoder to answer; as many as you like
--prompts=FILE     a prompt in each line, or in .jsonl {"prompt": TEXT} or {"tokens": [ID, ...]};
                   without either they come from standard input, or you are asked at a terminal
--poem form=wujue theme=春夜    a poem by Yuefu, as many as you like: form wujue, qijue, wulu,
                   qilu, ci (tune=浣溪沙) or couplet (first=海内存知己);
                   acrostic=春夏秋冬 in a theme's place; seed=S for a seed of its own
--max_new_tokens=N --min_new_tokens=N    how long what is written is (default 64, 0)
--stop=TEXT        ends it, and is no part of it; as many as you like

--sample           tokens are drawn; the default is the best each time
--temperature=T --top_k=K --top_p=P --typical_p=P --samples=N    of draws; they imply --sample
--top_p_rule=huggingface|gpt2    whether the token that crosses p may be drawn
--seed=S           of draws: the same text whatever is written beside it
--beams=N --n_best=N --length_penalty=A --early_stopping=estimate|full|never    a beam search
--repetition_penalty=X --taken_penalty=X --no_repeat_ngram=N

--order=left|right|random|2,0,1    writes with a model that fills in blanks (bert, roberta, nezha,
                   albert, ...), in this order: prompts are texts with [MASK] where it writes;
                   [MASK]*12 is twelve of them. It draws of the best 40; --nosample for the best
--slots=N          of prompts without [MASK]: a text of N tokens, the words spread over it; without
                   a prompt a text of N tokens
--tokens_per_step=N    blanks that are filled at once (default 1)

--json             a JSON line for each text: prompt, text, tokens, finished (end, stop or length)
--logprobs         with the log-probability of each token
--batch_size=N     texts at once (default 16)
--dtype=float32|bfloat16    (default: as it was trained)
--mesh=AXIS=N,...  how devices split the model, such as tensor=4,fsdp=2
--compilation_cache=FOLDER, --compilation_cache_gib=N    as of plmjax.main

Special tokens may be written out in prompts: <extra_id_0>, <mask>, <|endoftext|>.
"""

import dataclasses
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from plmjax import cli
from plmjax.data.poetry.asking import asked, joined
from plmjax.decoding import orders
from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.parallel.mesh import MeshConfig, parsed_mesh

MODEL = flags.DEFINE_string("model", None, "A run's workdir or a folder of Hugging Face's.")
PROMPT = flags.DEFINE_multi_string("prompt", [], "A text to go on with.")
PROMPTS = flags.DEFINE_string("prompts", "", "A file with a prompt in each line.")
POEM = flags.DEFINE_multi_string("poem", [], "form=FORM, and theme=, acrostic=, tune= or first=.")
ORDER = flags.DEFINE_string("order", "", "left, right, random or a permutation of the blanks.")
SLOTS = flags.DEFINE_integer("slots", 0, "Tokens of a text without [MASK].", lower_bound=0)
TOKENS_PER_STEP = flags.DEFINE_integer("tokens_per_step", 1, "Blanks at once.", lower_bound=1)
STOP = flags.DEFINE_multi_string("stop", [], "A text that ends what is written.")
AS_JSON = flags.DEFINE_bool("json", False, "Print JSON lines.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Texts at once.", lower_bound=1)
DTYPE = flags.DEFINE_string("dtype", "", "float32 or bfloat16.")
MESH = flags.DEFINE_string("mesh", "", "How devices split the model, such as tensor=4,fsdp=2.")

_FROM_MODEL = ("stop_tokens", "spared_tokens", "banned_tokens", "forced_begin", "forced_end")
_OF_DRAWS = ("temperature", "top_k", "top_p", "top_p_rule", "typical_p", "samples")


def _define_decoding_flags() -> tuple[str, ...]:
    """A flag for each field of DecodingConfig that is the user's to set; their names."""
    kinds = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer}
    kinds |= {float: flags.DEFINE_float, str: flags.DEFINE_string}
    names = []
    for field in dataclasses.fields(DecodingConfig):
        if field.name not in _FROM_MODEL:
            kinds[type(field.default)](field.name, field.default, "See DecodingConfig.")
            names.append(field.name)
    return tuple(names)


_DECODING = _define_decoding_flags()
cli.define_cache_flags()


def main(rest: Sequence[str]) -> int:
    """Writes what the flags say; returns the exit code."""
    if rest:
        raise UserError(f"'{rest[0]}' after -- has no meaning here; leave it out")
    if MODEL.value is None:
        raise UserError("--model is missing, for example --model=runs/gpt_demo-english")
    order = _order()
    if POEM.value:
        return _write_poems()
    config, mesh = decoding_config(), parsed_mesh(MESH.value)
    if any(not stop for stop in STOP.value):
        raise UserError("--stop= is empty; give the text that ends what is written")
    # What the user gives is looked at before what takes long.
    from plmjax import prompts, writing

    given = prompts.given(PROMPT.value, PROMPTS.value)
    if SLOTS.value and not given:
        given = [prompts.Prompt("--slots", "")]
    is_asked = not given and sys.stdin is not None and sys.stdin.isatty()
    if not given and not is_asked:
        given = prompts.piped()
    writer = _writer(order, config, mesh)
    if is_asked:
        _open_session(writer)
    elif AS_JSON.value:
        for one in writer.write(given):
            show(json.dumps(one.as_dict(), ensure_ascii=False) + "\n")
    elif len(given) == 1:
        writing.show_one(writer, given[0], show)
    else:
        writing.show_all(writer, given, show)
    return 0


def _order() -> str | tuple[int, ...]:
    """--order, which draws as the released code where flags do not say otherwise; or nothing."""
    if ORDER.value:
        for name in ("poem", "stop", "beams"):
            if flags.FLAGS[name].present:
                raise UserError(f"--{name} with --order has no meaning; leave one of them out")
        found = orders.parsed_order(ORDER.value)
        _begin_as(orders.RELEASED)
        return found
    for name in ("slots", "tokens_per_step"):
        if flags.FLAGS[name].present:
            raise UserError(
                f"--{name} is of writing with a model that fills in blanks; give --order=random too"
            )
    return ""


def _begin_as(released: Mapping[str, Any]) -> None:
    """Gives the flags of draws that are not given these values; none of them with --nosample."""
    given = flags.FLAGS
    if not (given["sample"].present and not given["sample"].value):
        for name, value in released.items():
            given[name].value = given[name].value if given[name].present else value


def _writer(order: str | tuple[int, ...], config: DecodingConfig, mesh: MeshConfig) -> Any:
    loaded = _loaded(mesh)
    if not order:
        from plmjax.writing import Writer

        return Writer(loaded, config, STOP.value, BATCH_SIZE.value)
    from plmjax.filling import BlankWriter

    sizes = TOKENS_PER_STEP.value, SLOTS.value, BATCH_SIZE.value
    return BlankWriter(loaded, config, order, *sizes)


def _write_poems() -> int:
    poems = [asked(text) for text in POEM.value]
    if PROMPT.value or PROMPTS.value or STOP.value:
        raise UserError("--poem with --prompt, --prompts or --stop: a poem has none; leave it out")
    for one in (one for one in poems if one.acrostic and one.theme):
        print(
            f"theme={one.theme} is not read: acrostic={one.acrostic} takes its place, as in"
            " training",
            file=sys.stderr,
        )
    from plmjax.asked_poems import RELEASED, PoemWriter

    _begin_as(RELEASED)
    config, mesh = decoding_config(), parsed_mesh(MESH.value)
    writer = PoemWriter(_loaded(mesh), config, BATCH_SIZE.value)
    seeds = [config.seed if one.seed is None else one.seed for one in poems]
    for number, one in enumerate(writer.write(poems, seeds)):
        line = json.dumps(one.as_dict(), ensure_ascii=False) + "\n"
        show(line if AS_JSON.value else "\n" * bool(number) + one.as_text())
    return 0


def decoding_config() -> DecodingConfig:
    """The flags as a DecodingConfig; what is only of draws implies that there are some.

    Raises:
      UserError: for values out of range, and options that do not go together.
    """
    found = flags.FLAGS
    fields = {name: getattr(found, name) for name in _DECODING}
    draws = [name for name in _OF_DRAWS if found[name].present]
    if draws and not found["sample"].present and fields["beams"] == 1:
        fields["sample"] = True
    try:
        return DecodingConfig(**fields)
    except UserError as error:
        message = (
            str(error).replace("sample=False", "--nosample").replace("sample=True", "--sample")
        )
        raise UserError(re.sub(r"^(?=\w+=)", "--", message)) from None


def _loaded(mesh: MeshConfig) -> Any:
    from plmjax.loaded import load_asked

    return load_asked(MODEL.value, DTYPE.value, mesh)


def _open_session(writer: Any) -> None:
    from plmjax import writing

    if AS_JSON.value:
        raise UserError("--json has no prompts to write for; give --prompt=TEXT or --prompts=FILE")
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  lines can be edited and come back

    model = writer.loaded
    show(f"{model.family} of {model.path}. Type a text and Enter; Ctrl-D ends.\n")
    writing.session(writer, input, show)


def show(text: str) -> None:
    """Prints at once, also into a pipe."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        # Whoever has read so far has enough, as `head` has; the interpreter's own flush fails too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    sys.argv = joined(sys.argv)
    cli.run_without_config(main, __doc__, computes=True)
