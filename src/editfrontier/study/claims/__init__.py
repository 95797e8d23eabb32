"""The claims of the paper, each a small function of what the study measured that returns a verdict.

`config/claims.yaml` lists the claims; `decision` holds the one rule of all verdicts; `evidence` reads what was
measured. The functions stand in the other modules, grouped by the part of the paper. Nothing heavy is imported at
import time.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.study.judging.verdict import Absent, Verdict

if TYPE_CHECKING:
    from editfrontier.study.judging.evidence import Evidence

_SHARED = ("decision", "evidence", "ledger", "resampling")


@dataclass(frozen=True)
class Test:
    """A function that tests a claim, with the parameters that the list of claims must give it."""

    name: str  # <module>.<function>
    run: Callable[..., Verdict]
    params: tuple[str, ...] = field(default=())

    def __call__(self, evidence: Evidence, params: Mapping[str, Any]) -> Verdict:
        """Return the verdict; what is absent makes it "not testable at this scale"."""
        try:
            return self.run(evidence, **params)
        except Absent as absent:
            return Verdict(verdict="not testable at this scale", reason=str(absent))


def claim(function: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """Mark a function (evidence, *, parameters without defaults) as the test of a claim."""

    @functools.wraps(function)
    def tested(evidence: Evidence, **params: Any) -> Verdict:
        return function(evidence, **params)

    names = tuple(
        name for name, p in inspect.signature(function).parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY
    )
    module = function.__module__.rpartition(".")[2]
    tested.test = Test(f"{module}.{function.__name__}", tested, names)  # type: ignore[attr-defined]
    return tested


def all_tests() -> dict[str, Test]:
    """Return the tests of all claims by their name, <module>.<function>."""
    found = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name not in _SHARED):
        for value in vars(importlib.import_module(f"{__name__}.{module}")).values():
            test = getattr(value, "test", None)
            if isinstance(test, Test) and test.name.partition(".")[0] == module:
                found[test.name] = test
    return found


def get_test(name: str) -> Test:
    """Return a test by its name; raise `UserError` if there is none."""
    found = all_tests()
    if name not in found:
        raise UserError(f"'{name}' is no test of a claim.{did_you_mean(name, found)} Correct the name.")
    return found[name]
