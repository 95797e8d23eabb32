"""The user study: what people prefer, how far they agree, and whether automatic metrics agree with them (claim C32).

The paper reports none of its answers (section 4.4), and without people there are none here: nothing stands in for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.base.seeding import stable_seed
from editfrontier.statistics.set_bootstrap import NO_IMAGES, SETS
from editfrontier.study.analysis import Analysis, NoParams
from editfrontier.study.drawing.user_study import PEOPLE, draw_user_study
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.userstudy.materials import Design
    from editfrontier.study.userstudy.responses import Judgement, Responses, Session
    from editfrontier.study.userstudy.summary import Estimate, Spread, Votes

_RANK = ("spearman", "kendall")
_FEWEST_RANKED = 3
"""Editors; two are always ranked the same way or the other."""


def run(inputs: Inputs, params: NoParams) -> list[Finding]:
    """Read the design and the files of responses, and summarise what counts.

    Raises:
        UserError: the design is missing or was changed, or is of another experiment than the analysis.
    """
    from editfrontier.study.userstudy.materials import read_design
    from editfrontier.study.userstudy.responses import collect_responses, judgements_of

    design = read_design(inputs.root / "user_study" / "design.json")
    if design.experiment not in inputs.experiments:
        raise UserError(
            f"analysis '{inputs.name}': people judged the experiment '{design.experiment}', which the entry does not "
            "name. Add it to the entry's 'experiments'."
        )
    collected = collect_responses(inputs.files, design)
    excluded = _excluded(collected, design)
    counted = [session for session in collected.sessions if session.participant not in excluded]
    judgements = [judgement for session in counted for judgement in judgements_of(session, design)]
    findings = [_responses(inputs, design, collected, counted, len(judgements))]
    findings += [*_files(collected, design, excluded), *_differences(design)]
    return findings + (_results(inputs, design, collected, counted) if judgements else [])


def _excluded(collected: Responses, design: Design) -> dict[int, int]:
    """Return participant -> failed catch trials, of those who failed more than the design allows."""
    from editfrontier.study.userstudy.responses import catch_results

    failures = {
        s.participant: catch_results(s, design.trials[s.participant - 1]).count(False) for s in collected.sessions
    }
    return {who: count for who, count in failures.items() if count > design.settings["allowed_catch_failures"]}


def _responses(
    inputs: Inputs, design: Design, collected: Responses, counted: Sequence[Session], judgements: int
) -> Finding:
    if not inputs.files:
        note = (
            f"no responses yet: give user_study/index.html to {len(design.trials)} participants, put the files that "
            f"they return into {design.responses}/, and run snakemake again (docs/user_study.md)"
        )
    elif not collected.sessions:
        count = len(inputs.files)
        note = f"no responses yet: none of the {count} files in {design.responses}/ can be used, see files_ignored"
    elif not judgements:
        note = "no responses yet: none of the participants' answers count, see excluded"
    else:
        partial = sum(not session.finished for session in counted)
        note = f"of {len(design.trials)} participants; design {design.hash}" + (
            f"; {partial} did not answer every pair" if partial else ""
        )
    return Finding(quantity="responses", value=len(counted) if judgements else 0, n=judgements, note=note)


def _differences(design: Design) -> list[Finding]:
    """Return which editors of the experiment people have not judged, or not by their present images."""
    later = "the experiment got it after people had begun to answer, and the design stays as it was"
    other = "people saw other images of it than the present ones, or it is gone: no metric of it is compared with them"
    return [
        Finding(quantity=quantity, variant=name, value=1, n=1, note=note)
        for quantity, names, note in (("unjudged", design.unjudged, later), ("changed", design.changed, other))
        for name in names
    ]


def _files(collected: Responses, design: Design, excluded: dict[int, int]) -> list[Finding]:
    """Return what was left out, and why."""
    from editfrontier.study.userstudy.responses import catch_results

    findings = [Finding(quantity="files_ignored", value=len(collected.ignored), n=len(collected.ignored))]
    findings += [
        Finding(quantity="files_ignored", level=file.name, value=1, n=1, note=f"{file.name}: {reason}")
        for file, reason in collected.ignored
    ]
    for session in collected.sessions:
        name, trials = session.file.name, design.trials[session.participant - 1]
        who = f"participant {session.participant}"
        if session.faults:
            more = f"; and {len(session.faults) - 1} more" if len(session.faults) > 1 else ""
            note = f"{name}: {session.faults[0]}{more}"
            count = len(session.faults)
            findings.append(Finding(quantity="answers_ignored", level=name, value=count, n=count, note=note))
        if len(session.answers) < len(trials):
            note = f"{name}: {len(session.answers)} of {len(trials)} trials answered; these count"
            share = len(session.answers) / len(trials)
            findings.append(Finding(quantity="answered", level=who, value=share, n=len(session.answers), note=note))
        if session.participant in excluded:
            shown = len(catch_results(session, trials))
            allowed = design.settings["allowed_catch_failures"]
            note = (
                f"{name}: {excluded[session.participant]} of {shown} trials with a known answer failed, {allowed} "
                "allowed by the design; no answer of this participant counts"
            )
            findings.append(
                Finding(quantity="excluded", level=who, value=excluded[session.participant], n=shown, note=note)
            )
    return findings


def _results(inputs: Inputs, design: Design, collected: Responses, counted: Sequence[Session]) -> list[Finding]:
    from editfrontier.study.userstudy import summary
    from editfrontier.study.userstudy.responses import catch_results, judgements_of, repeated_votes

    scores = summary.as_judged(inputs.scores(design.experiment), design)
    images = inputs.weights(scores.clusters, "images")
    raters = inputs.weights(len(counted), "participants")
    participants = [session.participant for session in counted]

    def votes_of(judgements: Sequence[Judgement]) -> Votes:
        single, level = inputs.weights(len(judgements), "answers"), inputs.settings.level
        return summary.collect_votes(judgements, scores, design.editors, raters, images, single, level, participants)

    judgements = [judgement for session in counted for judgement in judgements_of(session, design)]
    votes = votes_of(judgements)
    strength, preferred = summary.strengths(votes)
    findings = _editors(votes, strength, preferred)
    findings.append(_finding("alpha", summary.alpha(votes), note="interval over images alone"))
    findings.append(_finding("accuracy", summary.people(votes), level=PEOPLE, note="of the other participants"))
    listed = inputs.experiments[design.experiment].metrics
    judged = summary.metric_accuracies(votes, scores, summary.judged_metrics(scores, listed))
    findings += [_finding("accuracy", estimate, metric=metric) for metric, estimate in judged.items()]
    seed = stable_seed(inputs.name, "strengths", inputs.settings.seed)
    ranked = summary.metric_correlations(votes, strength, scores, listed, inputs.settings, seed)
    findings += _correlations(ranked, len(votes.editors), bool(design.changed))
    if scores.moments is not None:
        lost = [metric for metric in listed if metric in SETS and metric not in ranked]
        findings += [Finding(quantity=q, metric=m, value=math.nan, note=NO_IMAGES) for q in _RANK for m in lost]

    everyone = np.ones(len(judgements), dtype=bool)
    findings.append(_finding("ties", summary.share(votes, votes.vote == 0, everyone)))
    findings.append(_finding("left_share", summary.share(votes, (votes.vote > 0) == votes.left, votes.vote != 0)))
    again = [pair for session in counted for pair in repeated_votes(session, design)]
    if again:
        same = np.array([first.vote == second.vote for first, second in again])
        repeated = votes_of([first for first, _ in again])
        findings.append(_finding("consistency", summary.share(repeated, same, np.ones(len(again), dtype=bool))))
    caught = [right for s in collected.sessions for right in catch_results(s, design.trials[s.participant - 1])]
    if caught:
        note = "of all participants, excluded ones too"
        findings.append(Finding(quantity="catch_passed", value=sum(caught) / len(caught), n=len(caught), note=note))
    seconds = float(np.median([judgement.ms for judgement in judgements])) / 1000
    findings.append(Finding(quantity="seconds", value=seconds, n=len(judgements)))
    return findings


def _finding(quantity: str, estimate: Estimate, *, note: str = "", **where: Any) -> Finding:
    if not math.isfinite(estimate.value):
        note = "cannot be computed from these answers"
    elif not math.isfinite(estimate.low):
        note = "no interval: it takes at least two participants and two source images"
    return Finding(quantity=quantity, note=note, **estimate.fields(), **where)


def _editors(votes: Votes, strength: Spread, preferred: Spread) -> list[Finding]:
    findings = []
    order = [int(k) for k in np.argsort(-preferred.point, kind="stable")]
    for quantity, spread, bounds in (("preferred", preferred, (0.0, 1.0)), ("strength", strength, None)):
        for k in order:
            shown = int((votes.items[votes.item, 1:] == k).sum())
            row = _finding(quantity, spread.estimate(votes, shown, k, bounds), variant=votes.editors[k])
            if not math.isfinite(row.value):
                row = replace(row, note="the answers do not connect all editors by comparisons")
            findings.append(row)
    return findings


def _correlations(ranked: Mapping[str, tuple[Estimate, Estimate]], editors: int, changed: bool) -> list[Finding]:
    few = f"{editors} editors have no order to compare, it takes {_FEWEST_RANKED}"
    findings = []
    for index, quantity in enumerate(_RANK):
        for metric, estimates in ranked.items():
            row = _finding(quantity, estimates[index], metric=metric)
            if editors < _FEWEST_RANKED:
                row = Finding(quantity=quantity, metric=metric, value=math.nan, n=editors, note=few)
            elif changed:
                row = replace(row, note="people saw other images of an editor than the present ones, see changed")
            findings.append(row)
    return findings


def say(findings: Findings, inputs: Inputs) -> list[str]:
    """Return what was found in words."""
    responses = findings.select("responses")[0]
    ignored = int(findings.select("files_ignored", level="")[0].value)
    left_out = (
        f"{ignored} {'file was' if ignored == 1 else 'files were'} ignored; the table says why." if ignored else ""
    )
    if not responses.value:
        head = responses.note[0].upper() + responses.note[1:]
        return [f"{head}. Claim C32 stays open until then.", *([left_out] if left_out else [])]
    sentences = []
    preferred = [row for row in findings.select("preferred") if math.isfinite(row.value)]
    asked = f"{_count(int(responses.value), 'participant')} gave {_count(responses.n, 'judgement')}"
    if preferred:
        best, worst = preferred[0], preferred[-1]
        names = [inputs.labels.get(row.variant, row.variant) for row in (best, worst)]
        sentences.append(
            f"{asked}. They prefer {names[0]} to another editor in {_percent(best)} of comparisons, and {names[1]} in "
            f"{_percent(worst)}."
        )
    else:
        sentences.append(f"{asked}, which do not connect all editors by comparisons, so that they cannot be ranked.")
    people, alpha = findings.one("accuracy", level=PEOPLE), findings.one("alpha")
    if people is not None:
        agreement = f", Krippendorff's alpha {_number(alpha)}" if alpha is not None else ""
        sentences.append(f"A participant agrees with the majority of the others in {_percent(people)}{agreement}.")
    accuracy = [row for row in findings.select("accuracy") if row.metric and math.isfinite(row.value)]
    if accuracy:
        best = max(accuracy, key=lambda row: row.value)
        sure = sum(row.low > 0.5 for row in accuracy)
        sentences.append(
            f"Of the metrics, {metric_display(best.metric).label} agrees most often with the majority, in "
            f"{_percent(best)}; {sure} of {len(accuracy)} do so more often than a coin."
        )
    spearman = [row for row in findings.select("spearman") if math.isfinite(row.value)]
    if spearman:
        with_people = sum(row.low > 0 for row in spearman)
        against = sum(row.high < 0 for row in spearman)
        sentences.append(
            f"{with_people} of {len(spearman)} metrics rank the editors as people do (interval of the rank correlation "
            f"above 0), {against} the other way round."
        )
    excluded = findings.select("excluded")
    if excluded:
        sentences.append(
            f"{_count(len(excluded), 'participant')} failed too many trials with a known answer and do not count."
        )
    return [*sentences, *_said_of_differences(findings, inputs), *([left_out] if left_out else [])]


def _said_of_differences(findings: Findings, inputs: Inputs) -> list[str]:
    def names(quantity: str) -> str:
        return ", ".join(inputs.labels.get(row.variant, row.variant) for row in findings.select(quantity))

    said = []
    if later := names("unjudged"):
        said.append(f"There are no judgements of {later}, since the design is fixed while there are answers to it.")
    if other := names("changed"):
        said.append(f"Of {other} people saw other images than the present ones, so metrics are not compared there.")
    return said


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _percent(row: Finding) -> str:
    interval = f" ({100 * row.low:.0f} to {100 * row.high:.0f}%)" if math.isfinite(row.low) else ""
    return f"{100 * row.value:.0f}%{interval}"


def _number(row: Finding) -> str:
    interval = f" ({row.low:.2f} to {row.high:.2f})" if math.isfinite(row.low) else ""
    return f"{row.value:.2f}{interval}".replace("-", "−")


ANALYSIS = Analysis(
    name="user_study",
    run=run,
    draw=draw_user_study,
    say=say,
    quantities={
        "responses": "participants whose answers count; n = their judgements",
        "files_ignored": "files of responses that do not count, all of them and each",
        "unjudged": "editors that the experiment got after people had begun to answer",
        "changed": "editors of which people saw other images than the present ones, or that are gone",
        "answers_ignored": "answers of one file that do not count",
        "answered": "share of the trials that a participant answered who did not answer all",
        "excluded": "trials with a known answer that a participant failed who is left out for it",
        "preferred": "how likely people prefer the editor to one of the others, a tie counted as half",
        "strength": "log strength of the editor (Bradley-Terry with ties), the mean of all is 0",
        "alpha": "Krippendorff's alpha (nominal): agreement of people, 0 = chance, 1 = perfect",
        "accuracy": "share of comparisons judged as the majority of people does; people: as the majority of the others",
        "spearman": "rank correlation of strengths and the metric's means over the editors, 1 = the same order",
        "kendall": "Kendall's tau-b of the same",
        "ties": "share of judgements without a preference",
        "left_share": "share of preferences for the left image; 0.5 = no bias",
        "consistency": "share of repeated pairs that a participant judged the same way, sides exchanged",
        "catch_passed": "share of the trials with a known answer that were answered right",
        "seconds": "median time of a judgement, in seconds",
    },
)
