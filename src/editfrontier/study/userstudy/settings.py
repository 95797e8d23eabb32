"""Settings of the user study and their check. Imports nothing heavy: configs are checked with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from editfrontier.base.errors import did_you_mean

ANALYSIS = "user_study"
"""Module of the analysis that reads the responses."""


@dataclass(frozen=True)
class StudySettings:
    """What people are shown, and whose answers count; all of it but `responses` is stated before anybody answers.

    Attributes:
        experiment: name of the experiment whose editors are compared.
        pairs: pairs of edits that each of them judges, without catch trials and repeats.
        raters: participants who judge the same pair of edits, which agreement and majorities need.
        catch_trials: further trials of each participant with a known right answer.
        repeats: trials of each participant that come again with sides exchanged, for self-consistency.
        allowed_catch_failures: who fails more catch trials than this is left out.
        responses: folder of the files that participants send back.
    """

    experiment: str
    participants: int = 20
    pairs: int = 100
    raters: int = 5
    catch_trials: int = 6
    repeats: int = 4
    allowed_catch_failures: int = 1
    seed: int = 0
    responses: str = "responses"

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> StudySettings:
        """Settings from the config's section; its keys were checked with the config's schema."""
        return cls(**{field.name: entry[field.name] for field in fields(cls) if field.name in entry})

    def stated(self) -> dict[str, Any]:
        """Return the settings that belong to the design, by name."""
        return {key: value for key, value in asdict(self).items() if key != "responses"}


def settings_problems(config: Mapping[str, Any], tables: Mapping[str, Any]) -> Iterator[tuple[list[str], str]]:
    """Yield (path of the key, problem and fix) for what the schema of the config cannot check.

    Args:
        config: the complete config.
        tables: resolved experiments of `run`, by name.
    """
    entries = {name: config.get("analyses", {}).get(name) for name in config.get("analyse", [])}
    # A name without an entry is reported with the analyses.
    readers = [name for name, entry in entries.items() if entry is not None and entry.get("analysis", name) == ANALYSIS]
    if "user_study" not in config:
        for name in readers:
            fix = "Add it, or take this analysis from 'analyse'."
            yield ["analyses", name], f"it reads responses, but the config has no section 'user_study'. {fix}"
        return
    settings, here = StudySettings.of(config["user_study"]), "user_study"
    known = [name for name in config["run"] if name in tables]
    if settings.experiment not in known:
        near = did_you_mean(settings.experiment, known)
        yield [here, "experiment"], f"'{settings.experiment}' is no experiment of 'run'.{near} Correct the name."
        return
    rows = tables[settings.experiment]["rows"]
    editors = {row["variant"] for row in rows if not row["control"]}
    if len(editors) < 2:
        problem = f"'{settings.experiment}' has {len(editors)} editor(s) that are no controls, expected at least two"
        yield [here, "experiment"], f"{problem}. Name an experiment with more editors."
    if settings.raters > settings.participants:
        problem = f"{settings.raters} raters of each pair, but only {settings.participants} participants"
        yield [here, "raters"], f"{problem}. Lower it, or raise participants."
    if settings.repeats > settings.pairs // 2:
        problem = f"{settings.repeats}, expected at most half of the {settings.pairs} pairs: the first half comes again"
        yield [here, "repeats"], f"{problem}. Lower it, or raise pairs."
    for name in readers:
        if settings.experiment not in config["analyses"][name].get("experiments", []):
            fix = f"Add '{settings.experiment}' to it."
            yield ["analyses", name, "experiments"], f"the experiment that people judge is missing. {fix}"


def response_patterns(config: Mapping[str, Any], analysis: str) -> list[str]:
    """Return the patterns of the files of responses, for the analysis that reads them; none for any other."""
    if analysis != ANALYSIS or "user_study" not in config:
        return []
    return [f"{StudySettings.of(config['user_study']).responses.rstrip('/')}/*.json"]
