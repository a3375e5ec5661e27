"""What is written is what transformers generates, as text, in pieces and in a session."""

import io
import json

import numpy as np
import pytest

from plmjax.data.tokenizers.written import read_prompt
from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.loaded import load_model
from plmjax.prompts import Prompt, given, piped
from plmjax.writing import Writer, session, show_all
from tests.huggingface import small
from tests.huggingface.writers import saved

torch = small.torch
CONFIG = DecodingConfig(max_new_tokens=14)
TEXTS = {
    "gpt2": ["abc def", "ghij klm nopq", "x"],
    "t5": ["abc <extra_id_0> def", "ghij"],
    "bart": ["abc <mask> def", "uvw xyz nopq"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By case: transformers' model, the tokenizer and ours, loaded."""
    found = {}

    def get(case):
        if case not in found:
            folder = tmp_path_factory.mktemp(case)
            said = {"bart": {"forced_bos_token_id": 0}, "t5": {"decoder_start_token_id": 0}}
            found[case] = (*saved(case, folder, **said.get(case, {})), load_model(str(folder)))
        return found[case]

    return get


def prompts(*texts):
    return [Prompt("--prompt", text) for text in texts]


def theirs(model, tokenizer, case, text, **options):
    """The new tokens of transformers, up to the end."""
    ids = read_prompt(tokenizer, text)
    if case == "bart":
        ids = [tokenizer.bos_id, *ids]
    if case != "gpt2":
        ids = [*ids, tokenizer.eos_id]
    with torch.no_grad():
        rows = model.generate(torch.tensor([ids]), max_new_tokens=14, do_sample=False, **options)
    row = rows[0, len(ids) if case == "gpt2" else 1 :].tolist()
    return row[: row.index(tokenizer.eos_id)] if tokenizer.eos_id in row else row


@pytest.mark.parametrize("case", TEXTS)
def test_the_tokens_are_those_of_transformers(case, made):
    model, tokenizer, loaded = made(case)
    texts = TEXTS[case]
    for one in Writer(loaded, CONFIG, batch_size=2).write(prompts(*texts)):
        expected = theirs(model, tokenizer, case, one.prompt.text)
        assert list(one.tokens) == expected
        assert one.finished == ("end" if len(expected) < 14 else "length")


@pytest.mark.parametrize("case", ["gpt2", "bart"])
def test_a_beam_search_is_that_of_transformers_and_is_cut_when_it_is_over(case, made):
    model, tokenizer, loaded = made(case)
    text, config = TEXTS[case][1], DecodingConfig(max_new_tokens=14, beams=3, n_best=2)
    best, second = Writer(loaded, config).write(prompts(text))
    assert list(best.tokens) == theirs(model, tokenizer, case, text, num_beams=3)
    assert (best.sample, second.sample) == (0, 1)
    assert best.score > second.score
    stop = best.text[3:5]
    one, _ = Writer(loaded, config, [stop]).write(prompts(text))
    assert (one.text, one.finished) == (best.text[: best.text.index(stop)], "stop")


@pytest.mark.parametrize("case", ["gpt2", "t5"])
def test_pieces_are_the_text_and_a_stop_ends_it(case, made):
    _, _, loaded = made(case)
    (prompt,) = prompts(TEXTS[case][0])
    writer = Writer(loaded, CONFIG)
    (whole,) = writer.write([prompt])
    pieces = []
    streamed = writer.stream(prompt, pieces.append)
    assert ("".join(pieces), streamed) == (whole.text, whole)
    stop = whole.text[5:8]
    writer = Writer(loaded, CONFIG, [stop])
    (one,), pieces = writer.write([prompt]), []
    assert writer.stream(prompt, pieces.append) == one
    assert one.text == "".join(pieces) == whole.text[: whole.text.index(stop)]
    assert one.finished == "stop"
    assert whole.tokens[: len(one.tokens)] == one.tokens
    assert len(one.tokens) < len(whole.tokens)


def test_log_probabilities_are_of_the_tokens_and_of_the_end(made):
    model, _, loaded = made("gpt2")
    config = DecodingConfig(max_new_tokens=14, sample=True, samples=3, seed=5, logprobs=True)
    found = list(Writer(loaded, config).write(prompts("abc def")))
    assert [one.sample for one in found] == [0, 1, 2]
    assert len({one.tokens for one in found}) == 3
    for one in found:
        ids = [*read_prompt(loaded.tokenizer, "abc def"), *one.tokens]
        with torch.no_grad():
            scores = model(torch.tensor([ids])).logits.log_softmax(-1)[0].numpy()
        first = len(ids) - len(one.tokens)
        expected = [scores[i - 1, ids[i]] for i in range(first, len(ids))]
        np.testing.assert_allclose(one.logprobs, expected, atol=1e-3)
        assert (one.end_logprob is not None) == (one.finished == "end")
    described = json.loads(json.dumps(found[0].as_dict()))
    assert {"prompt", "sample", "text", "tokens", "finished", "logprobs"} <= described.keys()


def test_a_seed_gives_the_same_text_whatever_is_beside_it(made):
    _, _, loaded = made("gpt2")
    config = DecodingConfig(max_new_tokens=9, sample=True, seed=3)
    (alone,) = Writer(loaded, config).write(prompts("abc def"))
    found = list(Writer(loaded, config, batch_size=2).write(prompts("x y z", "abc def", "x")))
    assert found[1].tokens == alone.tokens


def test_a_session_goes_on_until_there_is_nothing_more(made, capsys):
    _, _, loaded = made("gpt2")
    typed, shown = ["abc", "", "abc " * 40, "def"], []

    def ask(question):
        if not typed:
            raise EOFError
        return typed.pop(0)

    session(Writer(loaded, CONFIG), ask, shown.append)
    said = "".join(shown)
    assert said.startswith("abc")
    assert "\ndef" in said
    assert "error: the prompt is" in capsys.readouterr().err


def test_several_texts_have_a_line_above_that_says_which_they_are(made):
    _, _, loaded = made("bart")
    shown = []
    show_all(Writer(loaded, CONFIG), prompts("abc", "def"), shown.append)
    assert [text.splitlines()[0] for text in shown] == ["[prompt 1]", "[prompt 2]"]


def test_a_prompt_that_cannot_be_gone_on_with_is_a_line(made):
    _, _, loaded = made("gpt2")
    writer = Writer(loaded, CONFIG)
    for text, message in (
        ("", r"--prompt is empty; give a text, or --prompt='<\|endoftext\|>'"),
        ("abc " * 20, r"--prompt is \d+ tokens long, .*=14 is more than the model's 40 places"),
    ):
        with pytest.raises(UserError, match=message):
            list(writer.write(prompts("abc", text)))
    with pytest.raises(UserError, match=r"p.jsonl, line 2 has the token 9000, .* vocabulary has"):
        list(writer.write([Prompt("p.jsonl, line 2", None, (9000,))]))


def test_files_of_prompts_are_read_and_damage_has_its_line(tmp_path):
    text, lines = tmp_path / "p.txt", tmp_path / "p.jsonl"
    text.write_bytes(b"\xef\xbb\xbfone two\r\n{three}\n\n")
    assert [p.text for p in given(["zero"], str(text))] == ["zero", "one two", "{three}"]
    lines.write_text('{"prompt": "one", "id": 7}\n{"tokens": [1, 2]}\n')
    one, two = given([], str(lines))
    assert (one.text, one.besides, two.tokens) == ("one", {"id": 7}, (1, 2))
    for content, message in (
        ('{"prompt": "one"}\n{"prompt": \n', "p.jsonl, line 2 is not JSON"),
        ('{"text": "one"}\n', "p.jsonl, line 1 has no field prompt; expected an object such as"),
        ('{"prompt": 3}\n', "p.jsonl, line 1: prompt is an int, expected a text"),
        ('{"tokens": ["a"]}\n', "p.jsonl, line 1: tokens are no list of ids"),
        ('{"prompt": "one"}\n\n{"prompt": "two"}\n', "p.jsonl, line 2 is empty"),
        (b"\xff\xfe\n", "p.jsonl, line 1 is not UTF-8"),
        ("", "p.jsonl is empty"),
    ):
        lines.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError, match=message):
            given([], str(lines))
    with pytest.raises(UserError, match=r"--prompts=\S+none: there is no such file"):
        given([], str(tmp_path / "none"))


def test_standard_input_has_lines_of_text_or_of_json():
    assert [p.text for p in piped(io.BytesIO(b"one\ntwo\n"))] == ["one", "two"]
    assert piped(io.BytesIO(b'{"prompt": "one"}\n'))[0].text == "one"
    with pytest.raises(UserError, match="there is no prompt: give --prompt=TEXT"):
        piped(io.BytesIO(b"\n"))
