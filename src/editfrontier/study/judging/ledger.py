"""The ledger: every claim of the list with its verdict, as a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from editfrontier.base.csv_files import frame_as_csv
from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.files import write_bytes
from editfrontier.base.places import CONFIG
from editfrontier.base.yaml_files import read_yaml
from editfrontier.study.claim import TESTS, Test
from editfrontier.study.judging.verdict import Verdict
from editfrontier.study.results.naming import editor_label

if TYPE_CHECKING:
    import pandas as pd

    from editfrontier.study.config.study import Study

SCHEMA = CONFIG / "claims.schema.yaml"
COLUMNS = (
    *("id", "claim", "where", "verdict", "what", "effect", "ci_low", "ci_high", "n", "p", "unit", "direction", "paper"),
    *("reported", "reason", "link"),
)


@dataclass(frozen=True)
class Claim:
    """An entry of the list of claims.

    Attributes:
        id: for example "C01".
        claim, where: the claim in a sentence, and where the paper makes it.
        test: what decides it.
        params: of the test.
        reported: the paper's numbers, as table/method/configuration/metric.
        link: name of a table, or analysis-<name>.
    """

    id: str
    claim: str
    where: str
    test: Test
    params: Mapping[str, Any]
    reported: tuple[str, ...]
    link: str


def read_claims(path: Path) -> list[Claim]:
    """Read and check the list of claims; raise `UserError` that names the file and the key."""
    content = read_yaml(path)
    _check(path, content)
    return [_claim(path, str(name), entry) for name, entry in content.items()]


def _check(path: Path, content: Mapping[str, Any]) -> None:
    errors = Draft202012Validator(read_yaml(SCHEMA)).iter_errors(content)
    # Unknown keys first: one of them is often the misspelt form of a key that is missing.
    for error in sorted(errors, key=lambda e: (e.validator != "additionalProperties", str(list(e.absolute_path)))):
        where = f"{path}: key '{'.'.join(map(str, error.absolute_path)) or '(top level)'}'"
        if "propertyNames" in error.absolute_schema_path:
            raise UserError(f"{where}: '{error.instance}' is no number of a claim, expected one like C01. Rename it.")
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            name = next(key for key in error.instance if key not in known)
            problem = f"unknown key '{name}'.{did_you_mean(str(name), known)} Correct or remove it."
        elif error.validator == "required":
            name = next(key for key in error.validator_value if key not in error.instance)
            problem = f"'{name}' is missing. Add it: {error.schema['properties'][name]['description'].lower()}"
        else:
            expected = error.schema.get("description") or f"something that matches {error.schema.get('pattern', '')}"
            problem = f"{error.instance!r}, expected: {expected} Correct the value."
        raise UserError(f"{where}: {problem}")


def _claim(path: Path, name: str, entry: Mapping[str, Any]) -> Claim:
    try:
        test = TESTS.get(entry["test"])
    except UserError as error:
        raise UserError(f"{path}: key '{name}.test': {error}") from None
    params = dict(entry.get("params") or {})
    for key in params:
        if key not in test.params:
            near = did_you_mean(key, test.params)
            raise UserError(f"{path}: key '{name}.params.{key}': unknown to {test.name}.{near} Correct or remove it.")
    for key in test.params:
        if key not in params:
            raise UserError(f"{path}: key '{name}.params.{key}': missing, {test.name} needs it. Add it.")
    reported = tuple(entry.get("reported", ()))
    return Claim(name, entry["claim"], entry["where"], test, params, reported, entry["link"])


def judge(claims: Sequence[Claim], root: Path, study: Study, reported: Path) -> pd.DataFrame:
    """Return the ledger with the columns of `COLUMNS`, one row a claim.

    Args:
        claims: those to judge.
        root: results folder of the scale.
        study: its config, resolved.
        reported: CSV of the values that the paper reports.

    Raises:
        UserError: a claim refers to a reported value that does not exist, or a file of results is unreadable.
    """
    import pandas as pd

    from editfrontier.study.judging.evidence import Evidence

    evidence, printed = Evidence(root, study, reported), _reported(reported)
    rows = []
    for claim in claims:
        for reference in claim.reported:
            if reference not in printed:
                near = did_you_mean(reference, printed)
                raise UserError(f"claim {claim.id}: there is no reported value '{reference}'.{near} Correct it.")
        verdict: Verdict = claim.test(evidence, claim.params)
        about = {"id": claim.id, "claim": claim.claim, "where": claim.where, "link": claim.link}
        effect = verdict.effect
        numbers = {"effect": effect.value, "ci_low": effect.low, "ci_high": effect.high, "n": effect.n, "p": effect.p}
        rows.append({**about, **vars(verdict), **numbers, "reported": "; ".join(printed[r] for r in claim.reported)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _reported(path: Path) -> dict[str, str]:
    """Return the paper's numbers in words by their reference, for example "SDEdit: FID 95.7", as it prints them."""
    words = {}
    with path.open(encoding="utf-8", newline="") as file:
        for entry in csv.DictReader(file):
            who = "" if entry["method"] == "all" else editor_label(entry["method"])
            which = "" if entry["configuration"] == "default" else entry["configuration"]
            name = ", ".join(part for part in (who, which) if part)
            value = entry["value"] + (" %" if entry["unit"] == "percent" else "")
            reference = "/".join(entry[key] for key in ("table", "method", "configuration", "metric"))
            words[reference] = f"{name}: {_METRIC_NAMES.get(entry['metric'], entry['metric'])} {value}"
    return words


_METRIC_NAMES = {
    "clip_align": "CLIP alignment",
    "fid": "FID",
    "id_sim": "ID",
    "iou": "IoU",
    "lpips_bg": "background LPIPS",
    "lpips_rec": "LPIPS",
    "mean_shift": "mean shift",
    "psnr": "PSNR",
    "success": "success",
    "both_retained": "both retained",
    "w": "w",
}


def write_ledger(claims: Path, root: Path, study: Study, reported: Path, out: Path) -> dict[str, int]:
    """Judge all claims and write the ledger as CSV, atomically. Command line: `claims`.

    Returns:
        Verdict -> how many claims have it.
    """
    frame = judge(read_claims(claims), root, study, reported)
    write_bytes(out, frame_as_csv(frame))
    return {str(name): int(count) for name, count in frame["verdict"].value_counts().items()}
