"""A run that an older version began."""

import json
import shutil

from tests.run import verb


def test_a_run_of_a_version_with_fewer_settings_goes_on(reference, tmp_path):
    workdir = tmp_path / "workdir"
    shutil.copytree(reference.workdir, workdir)
    run = json.loads((workdir / "run.json").read_text())
    del run["config"]["ramp"], run["config"]["optimizer"]["warmup_tokens"]
    del run["config"]["model"]["mask_value"], run["config"]["data"]["plan"]["dupe_factor"]
    (workdir / "run.json").write_text(json.dumps(run))
    again = verb.forked(reference.config, f"--workdir={workdir}")
    assert again.code == 0 and "This run is complete" in again.out, again.err
    changed = verb.forked(reference.config, f"--workdir={workdir}", "--config.model.mask_value=-7")
    assert changed.code == 2 and "model.mask_value was -10000.0, is -7.0" in changed.err, (
        changed.err
    )
