"""The command line of every verb: flags, configs, and one line for a mistake."""

import contextlib
import dataclasses
import errno
import importlib.util
import inspect
import itertools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import SourceFileLoader
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from plmjax.errors import UserError
from plmjax.settings import kind_name, nearest

USER_ERROR = 2  # beside these, plmjax.train.watchdog.EXIT_CODE
PREEMPTED = 75  # EX_TEMPFAIL: start the same command again
INTERRUPTED = 130  # what shells give a command that Ctrl-C has ended

_CONFIG, _OVERRIDE = r"--?config(=|$)", r"--?(no)?config\."
_PRINT_CONFIG = "print_config"
_CACHE, _CACHE_GIB = "compilation_cache", "compilation_cache_gib"
_EXAMPLE = "for example --config=configs/quickstart.py"
# The parsers that absl will use, asked first, since their messages do not say what was expected.
_PARSERS = {int: flags.IntegerParser(), float: flags.FloatParser(), bool: flags.BooleanParser()}


def define_config_flag() -> flags.FlagHolder:
    """Defines `--config=FILE.py[:ARGUMENT]`, its overrides, and the flags of every such verb."""
    flags.DEFINE_bool(_PRINT_CONFIG, False, "Print the config with all overrides, and stop.")
    define_cache_flags()
    return config_flags.DEFINE_config_file(
        "config", None, "A config file, with its argument after a colon: configs/bert.py:base."
    )


def define_cache_flags() -> None:
    """Defines the flags that say where compiled programs are kept."""
    flags.DEFINE_string(_CACHE, "", "Where compiled programs are kept; none for nowhere.")
    flags.DEFINE_float(_CACHE_GIB, 8.0, "GiB of compiled programs, at most.", lower_bound=0.001)


@dataclasses.dataclass(frozen=True)
class ProcessFlags:
    """The flags of a verb that several processes may run together."""

    coordinator: flags.FlagHolder
    processes: flags.FlagHolder
    process: flags.FlagHolder
    connect: flags.FlagHolder
    silence: flags.FlagHolder


def define_process_flags() -> ProcessFlags:
    """Defines `--coordinator`, `--processes`, `--process` and how long the others are waited for.

    Without the first three the environment decides; see `plmjax.parallel.processes.find_place`.
    """
    return ProcessFlags(
        flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, the same in all."),
        flags.DEFINE_integer("processes", None, "How many processes the run has."),
        flags.DEFINE_integer("process", None, "Which of them this is, from 0."),
        flags.DEFINE_float(
            "connect_seconds", 300.0, "How long the others are waited for.", lower_bound=1.0
        ),
        flags.DEFINE_float(
            "silence_seconds",
            60.0,
            "After so long without a sign of life a process counts as dead.",
            lower_bound=2.0,
        ),
    )


def run(
    main: Callable[..., int],
    config: flags.FlagHolder,
    about: str,
    together: ProcessFlags | None = None,
) -> None:
    """Parses the flags, runs `main` and exits with what it returns.

    A UserError, in the flags or in `main`, ends with its one line on stderr and exit code 2.

    Args:
      main: takes nothing, or with `together` a `plmjax.train.watchdog.Watchdog`; returns the exit
        code.
      config: what `define_config_flag` returned.
      about: the verb's help text.
      together: the flags by which several processes of the verb find each other.
    """
    # TensorFlow is used on the host only and has nothing to tell the user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

    def parse(argv: Sequence[str]) -> Sequence[str]:
        help_asked = {"--help", "-h", "-help"} & set(argv)
        with _mistakes_in_one_line():
            rest = _parse_flags([word for word in argv if word not in help_asked])
            if len(rest) > 1:
                raise UserError(f"'{rest[1]}' is not a flag; flags begin with --")
            if help_asked:
                print(about)
            if not help_asked and config.value is None:
                raise UserError(f"--config is missing, {_EXAMPLE}")
            if config.value is not None and (help_asked or flags.FLAGS[_PRINT_CONFIG].value):
                print(f"The config, with overrides:\n{show(config.value)}")
            if help_asked or flags.FLAGS[_PRINT_CONFIG].value:
                sys.exit(0)
        return rest

    def guarded(_) -> int:
        # What libraries log as an error they also raise, and one line is enough.
        logging.set_verbosity(logging.FATAL)
        if together is not None:
            return _run_together(main, together)
        with _mistakes_in_one_line():
            _settle_memory()
            return main()

    sys.unraisablehook = _report_unraisable
    app.run(guarded, flags_parser=parse)


def _run_together(main: Callable[..., int], given: ProcessFlags) -> int:
    """Joins the other processes, if there are any, and runs `main` under watch with them."""
    from plmjax.parallel import processes
    from plmjax.train.watchdog import watched

    watchdog = None
    try:
        with _mistakes_in_one_line():
            place = processes.find_place(
                *(given.coordinator.value, given.processes.value, given.process.value),
                given.connect.value,
            )
            if place is not None:
                processes.join(place, given.connect.value)
            with watched(given.silence.value) as watchdog:
                _settle_memory()
                return main(watchdog)
    except BaseException as error:
        if watchdog is None or watchdog.group.size == 1:
            raise
        # As Python would end, but for the goodbyes to processes that cannot answer any more.
        ended = isinstance(error, SystemExit)
        if not ended:
            traceback.print_exc()
        watchdog.leave(error.code if ended else 1)
        raise


def run_without_config(
    main: Callable[[Sequence[str]], int], about: str, computes: bool = False
) -> None:
    """As `run`, for a verb that has flags of its own and no config.

    Args:
      main: takes the words after a `--`, returns the exit code.
      about: the verb's help text.
      computes: whether it runs a model, and has the flags of `define_cache_flags`; without, jax is
        not imported.
    """

    def parse(argv: Sequence[str]) -> Sequence[str]:
        words = list(argv[1:])
        own, rest = words, []
        if "--" in words:
            own, rest = words[: words.index("--")], words[words.index("--") + 1 :]
        if {"--help", "-h", "-help"} & set(own):
            print(about)
            sys.exit(0)
        with _mistakes_in_one_line():
            left = _parse_flags([argv[0], *own])
            if len(left) > 1:
                raise UserError(f"'{left[1]}' is not a flag; flags begin with --")
        return [argv[0], *rest]

    def guarded(argv: Sequence[str]) -> int:
        logging.set_verbosity(logging.FATAL)
        with _mistakes_in_one_line(interrupted="" if computes else _RESUMES):
            if computes:
                _settle_memory()
            return main(argv[1:])

    app.run(guarded, flags_parser=parse)


def _settle_memory() -> None:
    import jax

    from plmjax.host_memory import keep_freed_memory

    # For the machines of which `plmjax` could not tell, before jax, that they compute on the CPU.
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    _keep_compiled()


def _keep_compiled() -> None:
    from plmjax.parallel.compilation_cache import GIB, keep_compiled

    folder, gib = flags.FLAGS[_CACHE].value, flags.FLAGS[_CACHE_GIB].value
    if reason := keep_compiled(folder, round(gib * GIB)):
        print(f"{reason}; --{_CACHE}=FOLDER names another place", file=sys.stderr, flush=True)


def _report_unraisable(unraisable: Any) -> None:
    # tensorstore's threads come here when a save that has failed has closed the event loop which
    # they report to; the failure itself is raised where the save is awaited.
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def show(config: ConfigDict) -> str:
    """The config as the flags that would set it, one a line."""
    settings = sorted(_settings(config).items())
    return "\n".join(f"  --{name}={value}" for name, value in settings)


def _settings(config: ConfigDict, prefix: str = "config") -> dict[str, Any]:
    found = {}
    for key, value in config.items():
        name = f"{prefix}.{key}"
        found |= _settings(value, name) if isinstance(value, ConfigDict) else {name: value}
    return found


def _parse_flags(argv: Sequence[str]) -> Sequence[str]:
    given = _given_config(argv)
    overrides = [word for word in argv[1:] if re.match(_OVERRIDE, word)]
    if given is not None:
        for word in itertools.takewhile(lambda word: not re.match(_CONFIG, word), argv[1:]):
            if word in overrides:
                raise UserError(f"{word} comes before --config={given}; put --config first")
        config = _load(given)
        for word in overrides:
            _check_override(config, word)
    elif overrides:
        raise UserError(f"{overrides[0]} overrides a config, and --config is missing, {_EXAMPLE}")
    try:
        return flags.FLAGS(list(argv))
    except flags.UnrecognizedFlagError as error:
        raise UserError(
            f"--{error.flagname} is not a flag{nearest(error.flagname, _own_flags())}"
        ) from None
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(f"{str(error).splitlines()[0].removeprefix('flag ')}; see --help") from None


def _own_flags() -> list[str]:
    """The flags of this project, without those that libraries define."""
    of_modules = flags.FLAGS.flags_by_module_dict()
    libraries = ("absl", "orbax", "ml_collections", "etils", "jax")
    own = [found for name, found in of_modules.items() if name.partition(".")[0] not in libraries]
    return ["help", *(flag.name for found in own for flag in found)]


def _given_config(argv: Sequence[str]) -> str | None:
    """The value of `--config=VALUE` or `--config VALUE`; None where there is none."""
    given = None
    for word, following in itertools.zip_longest(argv[1:], argv[2:]):
        if re.match(_CONFIG, word):
            _, equals, value = word.partition("=")
            given = value if equals else following
    return given


def _load(given: str) -> ConfigDict:
    """The config of `--config=given`.

    The flag itself loads it again, but says of what goes wrong too little or too much.
    """
    path, colon, argument = given.partition(":")
    if not os.path.isfile(path):
        raise UserError(f"--config={given}: there is no such file{_config_files(path)}")
    try:
        # Not by the ending: --config may be any file that is Python inside.
        loader = SourceFileLoader("plmjax_given_config", path)
        module = importlib.util.module_from_spec(
            importlib.util.spec_from_loader(loader.name, loader)
        )
        loader.exec_module(module)
        if not callable(getattr(module, "get_config", None)):
            raise UserError(f"--config={path} defines no function get_config()")
        arguments = [argument] if colon else []
        _check_takes(module.get_config, path, arguments)
        config = module.get_config(*arguments)
    except UserError:
        raise
    except Exception as error:
        raise UserError(_where_it_failed(error, path)) from None
    if not isinstance(config, ConfigDict):
        kind = kind_name(type(config))
        raise UserError(f"get_config() in {path} returns {kind}, expected a ConfigDict")
    return config


def _check_takes(get_config: Callable, path: str, arguments: list[str]) -> None:
    try:
        inspect.signature(get_config).bind(*arguments)
    except TypeError:
        if arguments:
            message = f"--config={path}:{arguments[0]}: {path} takes no argument; leave the colon"
        else:
            message = f"--config={path}: {path} needs an argument after a colon"
        raise UserError(message) from None


def _where_it_failed(error: Exception, path: str) -> str:
    """The place in the config file that has led to `error`, and what it was."""
    if isinstance(error, SyntaxError) and error.filename == path:
        line, what = error.lineno, error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == path), None)
        what = " ".join(str(error).split()) or "no message"
    place = f"{path}, line {line}" if line else path
    return f"{place}: {type(error).__name__}: {what}"


def _check_override(config: ConfigDict, word: str) -> None:
    """Raises a UserError for `--config.SECTION.KEY=VALUE` that the config has no place for."""
    flag, equals, text = word.partition("=")
    name = re.sub(_OVERRIDE, "config.", flag)
    settings = _settings(config)
    if name not in settings:
        inside = [f"--{known}" for known in settings if known.startswith(f"{name}.")]
        if inside:
            raise UserError(f"{word}: {name} is a section; set one of {', '.join(inside)}")
        raise UserError(f"{word}: the config has no such setting{_nearest_setting(name, settings)}")
    parser = _PARSERS.get(type(settings[name]))
    if not equals or parser is None:
        return
    try:
        parser.parse(text)
    except (TypeError, ValueError):
        kind, now = kind_name(type(settings[name])), str(settings[name])
        now = now.lower() if kind == "a bool" else now
        raise UserError(f"{word}: expected {kind}, such as {now}") from None


def _nearest_setting(name: str, settings: dict[str, Any]) -> str:
    """As `nearest`; the right key in the wrong section is nearer than anything else."""
    last = name.rpartition(".")[2]
    same = [known for known in settings if known.rpartition(".")[2] == last]
    # Without the prefix, which all names share and which would make all of them alike.
    known = [name.removeprefix("config.") for name in same or settings]
    hint = nearest(name.removeprefix("config."), known)
    if "did you mean" in hint:
        return re.sub("'(.*)'", r"--config.\1", hint)
    return f"; did you mean --{same[0]}?" if same else "; --print_config lists them"


def _config_files(path: str) -> str:
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        return f", {_EXAMPLE}"
    files = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".py")]
    return nearest(path, files) if files else f", {_EXAMPLE}"


_RESUMES = "; the same command goes on from what is saved"


@contextlib.contextmanager
def _mistakes_in_one_line(interrupted: str = _RESUMES) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        _exit(str(error), USER_ERROR)
    except KeyboardInterrupt:
        _exit(f"interrupted{interrupted}", INTERRUPTED)
    except Exception as error:
        reason = _trouble_of_the_disk(error)
        if reason is None:
            raise
        _exit(reason, USER_ERROR)


def _trouble_of_the_disk(error: Exception) -> str | None:
    """What the machine's owner can mend, in words; None for an error of the program's own."""
    # tensorstore, which writes the arrays of checkpoints, gives a full disk as a ValueError.
    if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
        return "no space left on the disk; free some and start the same command again"
    refused = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR)
    if isinstance(error, OSError) and error.errno in refused and error.filename:
        return f"cannot use {os.fspath(error.filename)}: {error.strerror}; name another path"
    return None


def _exit(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
