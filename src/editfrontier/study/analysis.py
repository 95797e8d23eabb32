"""What an analysis is, and the registry of analyses.

An analysis turns what experiments measured into findings: numbers with intervals that answer one question of the study.
It is a module with a constant `ANALYSIS` of the class below: a file of `study/analyses/`, or of an installed package
that names it under the entry point group "editfrontier.analyses". Adding one is one file and one entry in the config.
This module and those of the analyses import nothing heavy at import time, so that a config can be checked without
loading torch or pandas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from editfrontier.base.params import NoParams as NoParams
from editfrontier.base.params import fill_params
from editfrontier.base.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from editfrontier.study.findings import Finding, Findings
    from editfrontier.study.inputs import Inputs


@dataclass(frozen=True)
class Analysis:
    """One question of the study.

    Attributes:
        name: the module's name.
        run: (inputs, params) -> findings, in the order in which readers should see them.
        draw: (findings, inputs, params) -> the matplotlib figure; it is called within `theme.figure_style`.
        say: (findings, inputs) -> sentences of what was found, computed from the findings, the most important first.
        quantities: quantity -> what it means in a few words, for table heads and tooltips; every quantity that `run`
            may return stands here.
        params: frozen dataclass of parameters with defaults (types as in `params.fill_params`).
        pixels: whether the figure shows images, so that the report takes its PNG.
    """

    name: str
    run: Callable[[Inputs, Any], Sequence[Finding]]
    draw: Callable[[Findings, Inputs, Any], Figure]
    say: Callable[[Findings, Inputs], Sequence[str]]
    quantities: Mapping[str, str]
    params: type = NoParams
    pixels: bool = False


ANALYSES = Registry("analysis", Analysis, "ANALYSIS", "editfrontier.study.analyses", "editfrontier.analyses")
get_analysis = ANALYSES.get


def analysis_params(analysis: Analysis, overrides: Mapping[str, Any]) -> Any:
    """Return the parameters of an analysis with some defaults replaced; raise `UserError` for a wrong one."""
    return fill_params(f"analysis '{analysis.name}'", analysis.params, overrides)
