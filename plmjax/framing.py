"""What surrounds a text in the eyes of a model that is to go on with it."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from plmjax.data.batch_form import DataConfig
from plmjax.data.plans import FRAMES
from plmjax.data.tokenizers import Tokenizer
from plmjax.data.tokenizers.published import read_json

GENERATION_FILE = "generation_config.json"


@dataclasses.dataclass(frozen=True)
class Framing:
    """The ids around a prompt and at the end of what follows.

    begin: what the decoder reads first: of an encoder-decoder before all that it writes, of a
      decoder where a text has nothing before it. None where the vocabulary has nothing for it.
    end: what ends a text; empty where nothing does.
    pad: what fills up rows; it is never seen.
    before, after: around a prompt, of an encoder-decoder around the source.
    forced_begin: what an encoder-decoder writes first, whatever it scores; None for no such thing.
    forced_end: what it writes last where it has not come to an end by itself; None for none.
    """

    begin: int | None
    end: tuple[int, ...]
    pad: int
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    forced_begin: int | None = None
    forced_end: int | None = None


def as_trained(data: DataConfig, tokenizer: Tokenizer, is_seq2seq: bool) -> Framing:
    """How the texts of a run were framed.

    Args:
      data: of the run.
      tokenizer: the run's.
      is_seq2seq: whether the model is an encoder-decoder.
    """
    frame = FRAMES[data.frame]
    before, after = (_ids(tokenizer, roles) for roles in (frame.begin, frame.after))
    ends = _first(tokenizer, ("eod",)) + _first(tokenizer, ("eos",))
    pad = _first(tokenizer, ("pad", "eod", "eos"))
    if not is_seq2seq:
        end = tuple(dict.fromkeys(after + ends))
        begin = before or after or ends or _first(tokenizer, ("bos",))
        return Framing(next(iter(begin), None), end, *(pad or (0,)), before=before)
    if data.masking["name"] == "span_corruption":
        eos = _first(tokenizer, ("eos",))
        return Framing(next(iter(pad), None), eos, *(pad or (0,)), after=eos)
    # The decoder reads the end of the text before it writes its beginning (fairseq).
    first = next(iter(_first(tokenizer, ("eos", "sep"))), None)
    return Framing(first, after or ends, *(pad or (0,)), before=before, after=after)


def as_published(
    framing: Framing, folder: Path, described: Mapping[str, Any], size: int
) -> Framing:
    """The framing, and in its place what a folder of Hugging Face's says.

    generation_config.json goes before config.json. Ids that the vocabulary has not are not meant:
    the defaults of classes come with small models, too.

    Args:
      framing: by the tokenizer.
      folder: in which generation_config.json may be.
      described: the fields of config.json.
      size: of the vocabulary.

    Raises:
      UserError: if generation_config.json is damaged.
    """
    said = {**described, **_stated(_generation_config(folder))}

    def ids(name: str) -> tuple[int, ...]:
        found = said.get(name)
        several = found if isinstance(found, list) else [found]
        return tuple(i for i in several if type(i) is int and 0 <= i < size)

    def one(name: str) -> int | None:
        return next(iter(ids(name)), None)

    is_seq2seq = bool(described.get("is_encoder_decoder"))
    begin = one("decoder_start_token_id" if is_seq2seq else "bos_token_id")
    # Of a decoder the end of a document is one too, for which there is no field.
    end = ids("eos_token_id") + (() if is_seq2seq else framing.end)
    pad = one("pad_token_id")
    return dataclasses.replace(
        framing,
        begin=framing.begin if begin is None else begin,
        end=tuple(dict.fromkeys(end)) or framing.end,
        pad=framing.pad if pad is None else pad,
        forced_begin=one("forced_bos_token_id"),
        forced_end=one("forced_eos_token_id"),
    )


def _generation_config(folder: Path) -> dict[str, Any]:
    path = folder / GENERATION_FILE
    return read_json(path) if path.exists() else {}


def _stated(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}


def _ids(tokenizer: Tokenizer, roles: Iterable[str]) -> tuple[int, ...]:
    found = (tokenizer.id_of(role) for role in roles)
    return tuple(number for number in found if number is not None)


def _first(tokenizer: Tokenizer, roles: Iterable[str]) -> tuple[int, ...]:
    """The id of the first of the roles that the vocabulary has; none if it has none of them."""
    return _ids(tokenizer, roles)[:1]
