"""Import and export hold one tensor at a time: the peak of a process, measured."""

import json
import subprocess
import sys

import numpy as np
import pytest

from plmjax import from_huggingface
from plmjax.data.tokenizers.published import write_tokenizer
from plmjax.huggingface import bert, safetensors, streaming
from plmjax.huggingface.keys import shape_of
from plmjax.models.bert import Config
from tests.huggingface import small
from tests.run.verb import REPOSITORY

# Not getrusage's ru_maxrss: a process begins with that of the one that started it.
_CODE = """
import re
from plmjax import exporting, importing
def peak():
    return re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
before = peak()
{call}
print(before, peak())
"""


def peak(call: str) -> tuple[int, int]:
    """Megabytes of a process before and after a call."""
    command = [sys.executable, "-c", _CODE.format(call=call)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.splitlines()[-1].split()
    return int(before) // 1024, int(after) // 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_model_of_one_and_a_half_gigabytes_goes_through_half_of_one(tmp_path):
    config = Config(num_layers=20, hidden_size=1280, num_heads=20, mlp_size=5120, activation="gelu")
    tokenizer = small.vocabulary(30522)
    folder = tmp_path / "hf"
    folder.mkdir()
    settings = {"model_type": "bert", "pad_token_id": 0, **bert.BERT.to_settings(config)}
    (folder / "config.json").write_text(json.dumps(settings))
    write_tokenizer(tokenizer, folder, 512)
    ours = from_huggingface.shapes_of(from_huggingface.run_settings("bert", config, tokenizer, ""))
    made_of = streaming.pieces(bert.BERT.table(config, "pretraining"))
    shapes = streaming.shapes(made_of, ours, shape_of(config))
    rng = np.random.default_rng(0)
    slots = safetensors.lay_out(folder, shapes, "F32", 10**12)
    for name, slot in slots.items():
        slot.write(rng.standard_normal(shapes[name], np.float32))
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 2**20
    largest = max(4 * np.prod(shape) for shape in shapes.values()) / 2**20
    stacked = max(4 * np.prod(shape) for shape in ours.values()) / 2**20
    found = {
        "import": peak(f"importing.import_model({str(folder)!r}, {str(tmp_path / 'run')!r})"),
        "export": peak(
            f"exporting.export({str(tmp_path / 'run')!r}, {str(tmp_path / 'out')!r}, '', '500MB',"
            " 'float32')"
        ),
    }
    print(f"{size:.0f} MiB; largest tensor {largest:.0f}, largest of ours {stacked:.0f}; {found}")
    again = safetensors.of_files(sorted((tmp_path / "out").glob("*.safetensors")))
    assert again.keys() == slots.keys()
    for name, slot in slots.items():
        assert np.array_equal(again[name].read(), slot.read()), name
    for before, after in found.values():
        # Libraries that are loaded on the way count, too: some 200.
        assert after - before < 2 * largest + 500
