"""The claims of the paper, each a small function of what the study measured that returns a verdict.

`config/claims.yaml` lists the claims; `decision` holds the one rule of all verdicts; `evidence` reads what was
measured. The functions stand in `study/claims/`, grouped by the part of the paper. Nothing heavy is imported at
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

from editfrontier.base.registry import Registry
from editfrontier.study import claims
from editfrontier.study.judging.verdict import Absent, Verdict

if TYPE_CHECKING:
    from editfrontier.study.judging.evidence import Evidence


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


@functools.cache
def _tests() -> dict[str, Test]:
    tests = {}
    for info in pkgutil.iter_modules(claims.__path__):
        for value in vars(importlib.import_module(f"{claims.__name__}.{info.name}")).values():
            test = getattr(value, "test", None)
            if isinstance(test, Test) and test.name.partition(".")[0] == info.name:
                tests[test.name] = test
    return tests


TESTS = Registry("test", Test, entries=_tests, home="a function to a file of src/editfrontier/study/claims")
"""The tests of all claims by their name, <module>.<function>."""
