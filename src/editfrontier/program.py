"""Start and end of a program: warm start, options, log, and errors in one line.

A program of `scripts/` is a function whose parameters are its options, `name: Annotated[type, "help"]`; a list of
files is positional. It imports the library inside: after its options are checked, and not if the warm start takes over.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NoReturn, get_args, get_origin

from editfrontier.base.errors import DEBUG, UserError, did_you_mean, say_last
from editfrontier.base.places import ROOT
from editfrontier.running import warm

Cases = Annotated[Path, "case table (cases.parquet)"]
Config = Annotated[Path, "config of the study, for example config.yaml of its results folder"]
Device = Annotated[str, "cpu, cuda, cuda:N, mps, or auto"]
Evaluators = Annotated[dict[str, str], "folders of the evaluators by kind, as JSON"]
Out = Annotated[Path, "file to write"]
Reported = Annotated[Path, "CSV of the paper's values"]
Root = Annotated[Path, "results folder of the study"]
Spec = Annotated[dict[str, Any], "what determines the result, as JSON"]


def run(program: Callable[..., object]) -> None:
    """Run a program of `scripts/` with the options of the command line, in the warm process if there is one."""
    if (status := warm.delegate(sys.argv)) is not None:
        sys.exit(status)
    with errors_in_one_line():
        program(**read_options(program, sys.argv[0], sys.argv[1:]))


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Log to standard error; print a problem that the user can solve as one line there, and exit with status 2."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "matplotlib", "PIL", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        yield
    except Exception as error:
        problem = str(error) if isinstance(error, UserError) else _problem_of_a_file(error)
        say_last(f"error: {problem or f'{type(error).__name__}: {error}'}")
        if not problem or DEBUG in os.environ:
            raise
        raise SystemExit(2) from None


def _problem_of_a_file(error: Exception) -> str:
    """Return the problem of a disk, a folder or a file that the user named; "" for any other error."""
    import errno

    from editfrontier.base.files import DISK_FULL, NOT_WRITABLE
    from editfrontier.base.integrity.places import remedy

    if not isinstance(error, OSError):
        return ""
    place = str(error.filename or "a file")
    if error.errno in DISK_FULL:
        return f"{place}: the disk is full. Free some space and run again."
    if error.errno in NOT_WRITABLE:
        return f"{place}: {error.strerror}. {remedy(Path(place))}"
    words = [word for word in sys.argv[1:] if word and word[0] != "-"]
    if any(f"{place}/".startswith(f"{word}/") or word.startswith(f"{place}/") for word in words):
        is_file = error.errno in (errno.EEXIST, errno.ENOTDIR)
        return f"{place}: {'is no folder' if is_file else error.strerror}. Correct the path."
    return ""  # a file of the library that is missing


def read_options(program: Callable[..., object], script: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a program by name.

    Raises:
        UserError: an option is missing, unknown or wrong; the message says how the rule of the script calls it.
    """
    import argparse
    import inspect

    def refuse(message: str) -> NoReturn:
        if missing := re.fullmatch("the following arguments are required: (.*)", message):
            message = f"{missing[1]} {'are' if ',' in missing[1] else 'is'} missing"
        raise UserError(f"{script}: {message}; {call_of(Path(script))}")

    parser = argparse.ArgumentParser(
        prog=f"python {script}", description=program.__globals__["__doc__"], allow_abbrev=False
    )
    parser.error = refuse  # type: ignore[method-assign]
    options = ["--help"]
    for name, parameter in inspect.signature(program, eval_str=True).parameters.items():
        kind, explanation = get_args(parameter.annotation)
        option = f"--{name.replace('_', '-')}"
        options.append(option)
        if kind is bool:
            parser.add_argument(option, action="store_true", help=explanation)
        elif get_origin(kind) is list:
            parser.add_argument(name, type=get_args(kind)[0], nargs="+", help=explanation)
        elif parameter.default is parameter.empty:
            parser.add_argument(option, type=_reader(kind, option), required=True, help=explanation)
        else:
            parser.add_argument(option, type=_reader(kind, option), default=parameter.default, help=explanation)
    for word in words:  # argparse would first ask for those that are missing
        if word.startswith("--") and (option := word.partition("=")[0]) not in options:
            refuse(f"{option} is unknown.{did_you_mean(option, options)}")
    return vars(parser.parse_args(words))


def _reader(kind: Any, option: str) -> Callable[[str], Any]:
    """Return the function that reads the text of an option: as JSON for a mapping, else the type itself."""
    if get_origin(kind) is not dict:
        return get_args(kind)[0] if isinstance(kind, UnionType) else kind
    from editfrontier.base.fingerprints import read_spec

    return lambda text: read_spec(text, option)


def call_of(script: Path) -> str:
    """Return "rule `x` in rules/y.smk calls it so: ..." for a script that a rule calls."""
    for file in sorted((ROOT / "rules").glob("*.smk")):
        for shell in re.findall(r"shell:\s+((?:\"[^\"\n]*\"\s*)+)", file.read_text(encoding="utf-8")):
            call = "".join(re.findall(r'"([^"\n]*)"', shell))
            if call.startswith(f"python scripts/{script.name} "):
                plain = re.sub(r" (2?>|2>&1 \|).*", "", call).replace(":q}", "}")
                return f"rule `{script.stem}` in rules/{file.name} calls it so: {plain}"
    return f"`python {script} --help` lists the options."


def field(content: Mapping[str, Any], key: str, option: str) -> Any:
    """Return a value of an option's mapping; raise `UserError` if the key is missing."""
    if key not in content:
        raise UserError(f"{option}: the key '{key}' is missing. Add it.")
    return content[key]


def count(content: Mapping[str, Any], key: str, option: str) -> int:
    """Return a whole number of an option's mapping; raise `UserError` for any other value."""
    value = field(content, key, option)
    if type(value) is not int:
        raise UserError(f"{option}: the key '{key}' is {value!r}, expected a whole number. Correct it.")
    return value


def known(name: str, names: Collection[str], option: str) -> str:
    """Return the name; raise `UserError` with the nearest known one if it is unknown."""
    if name not in names:
        raise UserError(f"{option}: '{name}' is not in the config.{did_you_mean(name, names)} Correct the option.")
    return name
