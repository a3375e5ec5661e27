"""What a labelled task is measured by."""

import importlib.util

from plmjax.data.labelled.base import LabelledTask
from plmjax.errors import UserError
from plmjax.evals.metrics.named import METRICS, Metric
from plmjax.settings import choose


def metric_of(task: LabelledTask) -> Metric:
    """The task's entry of METRICS.

    Raises:
      UserError: for an unknown metric, one of another kind of task, or one of a package that is not
        installed.
    """
    fitting = {name: metric for name, metric in METRICS.items() if metric.kind in task.kinds}
    found = choose(task.measured, fitting, f"config.task.metric of {task.kind}")
    if found.package and importlib.util.find_spec(found.package) is None:
        name = found.package.replace("_", "-")
        raise UserError(
            f"config.task.metric='{task.measured}' is computed by {name}, which is not installed:"
            f" pip install {name}"
        )
    return found
