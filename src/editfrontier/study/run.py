"""Runs one analysis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.study.analysis import Analysis, analysis_params, get_analysis
from editfrontier.study.drawing.plotting import write_figure
from editfrontier.study.findings import Findings, write_findings
from editfrontier.study.inputs import Inputs, make_inputs


def run_analysis(name: str, entry: Mapping[str, Any], root: Path, out: Path, device: str = "cpu") -> None:
    """Run one analysis: write its findings (`out` and the CSV beside it) and its figure. Command line: `analyse`.

    Args:
        name: its key in the config.
        entry: its resolved entry in the config.
        root: results folder of the scale.
        out: parquet file; the figure has the same name with the suffixes .pdf, .svg and .png.
        device: where networks run.
    """
    analysis = get_analysis(entry["analysis"])
    params = analysis_params(analysis, entry["params"])
    inputs = make_inputs(name, entry, root, device)
    rows = tuple(analysis.run(inputs, params))
    undeclared = {row.quantity for row in rows} - set(analysis.quantities)
    if undeclared:
        fix = "Add it to its `quantities`."
        raise UserError(f"analysis '{analysis.name}': does not say what '{min(undeclared)}' means. {fix}")
    about = {"stage": "analyses", "name": name, "entry": dict(entry)}
    findings = Findings(rows, about)
    draw_analysis(analysis, findings, inputs, params, out.with_suffix(""))
    write_findings(out, rows, about | {"sentences": list(analysis.say(findings, inputs))})


def draw_analysis(analysis: Analysis, findings: Findings, inputs: Inputs, params: Any, stem: Path) -> None:
    """Draw the figure of an analysis from its findings, as <stem>.pdf, .svg and .png."""
    write_figure(lambda: analysis.draw(findings, inputs, params), stem)
