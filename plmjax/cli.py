"""The command line of every verb: flags, configs, and one line for a mistake."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from plmjax.errors import UserError
from plmjax.settings import nearest

USER_ERROR = 2
PREEMPTED = 75  # EX_TEMPFAIL: start the same command again

_PRINT_CONFIG = "print_config"


def define_config_flag() -> flags.FlagHolder:
    """Defines `--config=FILE.py[:ARGUMENT]`, its overrides, and `--print_config`."""
    flags.DEFINE_bool(_PRINT_CONFIG, False, "Print the config with all overrides, and stop.")
    return config_flags.DEFINE_config_file(
        "config", None, "A config file, with its argument after a colon: configs/bert.py:base."
    )


def run(main: Callable[[], int], config: flags.FlagHolder, about: str) -> None:
    """Parses the flags, runs `main` and exits with what it returns.

    A UserError, in the flags or in `main`, ends with its one line on stderr and exit code 2.

    Args:
      main: takes nothing, returns the exit code.
      config: what `define_config_flag` returned.
      about: the verb's help text.
    """
    # TensorFlow is used on the host only and has nothing to tell the user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

    def parse(argv: Sequence[str]) -> Sequence[str]:
        help_asked = {"--help", "-h", "-help"} & set(argv)
        with _mistakes_in_one_line():
            rest = _parse_flags([word for word in argv if word not in help_asked])
            if len(rest) > 1:
                raise UserError(f"{rest[1]!r} is not a flag; flags begin with --")
            if help_asked:
                print(about)
            if not help_asked and config.value is None:
                raise UserError("--config is missing, for example --config=configs/quickstart.py")
            if config.value is not None and (help_asked or flags.FLAGS[_PRINT_CONFIG].value):
                print(f"The config, with overrides:\n{show(config.value)}")
            if help_asked or flags.FLAGS[_PRINT_CONFIG].value:
                sys.exit(0)
        return rest

    def guarded(_) -> int:
        logging.set_verbosity(logging.ERROR)
        with _mistakes_in_one_line():
            return main()

    app.run(guarded, flags_parser=parse)


def show(config: ConfigDict, prefix: str = "config") -> str:
    """The config as the flags that would set it, one a line."""
    lines = []
    for key, value in sorted(config.items()):
        if isinstance(value, ConfigDict):
            lines.append(show(value, f"{prefix}.{key}"))
        else:
            lines.append(f"  --{prefix}.{key}={value}")
    return "\n".join(line for line in lines if line)


def _parse_flags(argv: Sequence[str]) -> Sequence[str]:
    config_flags_given = [word for word in argv[1:] if re.match(r"--?config(=|$)", word)]
    path = config_flags_given[-1].partition("=")[2].partition(":")[0] if config_flags_given else ""
    if path and not os.path.exists(path):
        raise UserError(f"--config={path}: there is no such file{_config_files(path)}")
    try:
        return flags.FLAGS(list(argv))
    except flags.UnrecognizedFlagError as error:
        known = [name for name in flags.FLAGS if not name.startswith("test_")]
        raise UserError(
            f"--{error.flagname} is not a flag{nearest(error.flagname, known)}"
        ) from None
    except (AttributeError, KeyError) as error:
        raise UserError(_unknown_key(argv, str(error))) from None
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(_first_line(error)) from None


def _unknown_key(argv: Sequence[str], message: str) -> str:
    """ml_collections says what is wrong over several lines; this says which flag, and no more."""
    missing = re.search(r"Did you mean \"?'?([\w.]+)", message)
    words = re.findall(r'"([\w.]+)"|\'([\w.]+)\'', message)
    key = next((a or b for a, b in words), "")
    flag = next((w for w in argv if w.startswith("--config.") and key and key in w), key)
    hint = f"; did you mean '{missing.group(1)}'?" if missing else ""
    return f"{flag}: the config has no such setting{hint or '; --print_config lists them'}"


def _config_files(path: str) -> str:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        return ""
    files = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".py")]
    return nearest(path, files) if files else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


@contextlib.contextmanager
def _mistakes_in_one_line():
    try:
        yield
    except UserError as error:
        _exit(str(error))
    except OSError as error:
        if not _disk_full(error):
            raise
        _exit("no space left on the device; free some and start the same command again")
    except Exception as error:
        # Checkpoints are written by threads of other libraries, which wrap the cause.
        if not _disk_full(error):
            raise
        _exit("no space left on the device; free some and start the same command again")


def _disk_full(error: BaseException) -> bool:
    return "No space left on device" in str(error) or "RESOURCE_EXHAUSTED: Error" in str(error)


def _exit(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(USER_ERROR)
