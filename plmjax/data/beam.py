"""The units of a job as an Apache Beam pipeline, for more than one machine.

`--runner=DirectRunner` runs it here. Others take the flags of Beam's own options, after `--`:

  Dataflow  --runner=DataflowRunner -- --project=P --region=R --temp_location=gs://B/tmp
            --sdk_container_image=IMAGE (Beam's SDK with plmjax in it)
  Flink     --runner=FlinkRunner -- --flink_master=HOST:8081 --environment_type=DOCKER
            --environment_config=IMAGE (with plmjax in it)
  Spark     --runner=SparkRunner -- --spark_master_url=spark://HOST:7077 and the same environment

The store, and so its parts, must then be where all machines can write: --out=gs://... or s3://...
"""

import functools
import json
from collections.abc import Sequence
from typing import Any

from plmjax.data.formats import Unit
from plmjax.data.merging import merge
from plmjax.data.tokenising import Job, make_part
from plmjax.errors import UserError


def make_store(
    job: Job, units: Sequence[Unit], vocab_size: int, runner: str, arguments: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Makes the parts and merges them, in a Beam pipeline.

    Args:
      job: what to do.
      units: what to do it to.
      vocab_size: V.
      runner: a runner of Beam's, such as `DirectRunner`.
      arguments: for Beam's own options.

    Returns:
      What `merge` returned.

    Raises:
      UserError: where Beam is missing or does not know the runner, or for bad input.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise UserError(f"--runner={runner} needs Apache Beam: pip install apache-beam") from None
    try:
        options = PipelineOptions([f"--runner={runner}", *arguments])
        pipeline = beam.Pipeline(options=options)
    except (ValueError, SystemExit) as error:
        raise UserError(f"--runner={runner}: {' '.join(str(error).split())}") from None
    made = (
        pipeline
        | beam.Create(list(enumerate(units)))
        | beam.Reshuffle()
        | beam.Map(functools.partial(_make_numbered_part, job))
        | beam.combiners.Count.Globally()
    )
    merged = made | beam.Map(functools.partial(_merge, job, list(units), vocab_size))
    # One element of one file: the pipeline's result is not to be had otherwise on every runner.
    merged | beam.Map(functools.partial(_write_result, job))
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:
        message = _user_message(error)
        if message is None:
            raise
        raise UserError(message) from None
    return _read_result(job)


def _make_numbered_part(job: Job, unit: tuple[int, Unit]) -> int:
    make_part(job, unit[1])
    return unit[0]


def _merge(job: Job, units: list[Unit], vocab_size: int, made: int) -> dict[str, dict[str, Any]]:
    if made != len(units):
        raise RuntimeError(f"{made} parts were made of {len(units)} units")
    return merge(job, units, vocab_size)


def _write_result(job: Job, result: dict[str, dict[str, Any]]) -> None:
    _result_path(job).write_text(json.dumps(result))


def _read_result(job: Job) -> dict[str, dict[str, Any]]:
    return json.loads(_result_path(job).read_text())


def _result_path(job: Job) -> Any:
    from etils import epath

    return epath.Path(job.parts) / "merged.json"


def _user_message(error: BaseException | None) -> str | None:
    """The text of a UserError that a worker raised; Beam wraps it, or passes on its text alone."""
    while error is not None:
        if isinstance(error, UserError):
            return str(error).partition(" [while running")[0]
        for line in reversed(str(error).splitlines()):
            if "plmjax.errors.UserError: " in line:
                found = line.partition("plmjax.errors.UserError: ")[2]
                return found.partition(" [while running")[0]
        error = error.__cause__ or error.__context__
    return None
