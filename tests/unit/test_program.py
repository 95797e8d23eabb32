"""The programs of `scripts/`: what belongs to their rules, and what they say when they are called wrongly."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from editfrontier.base.places import ROOT
from editfrontier.program import call_of
from editfrontier.running.jobs import edit_spec, evaluators_for_sources, references
from editfrontier.running.warm import RULES
from editfrontier.study.config.study import load_study

SCRIPTS = {file.stem: file for file in sorted((ROOT / "scripts").glob("*.py"))}


def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, *options: str) -> str:
    """Run a script in this process as it is called; return its one line of error."""
    monkeypatch.setattr("sys.argv", [f"scripts/{name}.py", *options])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPTS[name]), run_name="__main__")
    assert end.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_rule_script_log_and_benchmark_have_one_name() -> None:
    calls = {}
    for file in sorted((ROOT / "rules").glob("*.smk")):
        for body in re.split(r"^ *(?=rule \w+:)", file.read_text(), flags=re.MULTILINE)[1:]:
            if script := re.search(r"python scripts/(\w+)\.py ", body):
                (rule,) = re.findall(r"^rule (\w+):", body)
                calls[rule] = script[1]
                assert set(re.findall(r"<results>/(?:logs|benchmarks)/(\w+)", body)) == {rule}
    assert calls == {name: name for name in SCRIPTS}
    assert set(RULES) <= SCRIPTS.keys()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_missing_option_is_named_with_the_rule_that_gives_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    line = called(monkeypatch, capsys, name)
    assert re.match(
        rf"error: \S*scripts/{name}\.py: [a-z-]+.* (is|are) missing; rule `{name}` in rules/\w+\.smk calls it so: ",
        line,
    )
    assert f"python scripts/{name}.py " in line and " > " not in line and "{log" not in line


def test_an_unknown_option_is_named_and_a_stranger_has_no_rule(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--config", "a", "--root", "a", "--reported", "a", "--out", "a", "--outt", "a"]
    assert "index.py: --outt is unknown. Did you mean '--out'?; rule `index`" in called(
        monkeypatch, capsys, "index", *options
    )
    assert "table.py: --tabel is unknown. Did you mean '--table'?" in called(monkeypatch, capsys, "table", "--tabel=x")
    assert call_of(Path("scripts/mine.py")) == "`python scripts/mine.py --help` lists the options."


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "cases",
            '--spec {{"task":"a","dataset":"scenes","cases":"x","seed":0}} --out x',
            "'cases' is 'x', expected a whole",
        ),
        ("cases", "--spec {{ --out x", "--spec: not valid JSON"),
        ("cases", "--spec [] --out x", "--spec: expected a JSON object"),
        ("reference", '--spec {{"images":1.5,"seed":0}} --out x', "the key 'images' is 1.5, expected a whole number"),
        (
            "edit",
            "--shard x --cases x --spec {{}} --record x --images x",
            "argument --shard: invalid int value: 'x'; rule",
        ),
        ("sources", "--cases x --evaluators {{}} --out x --device gpu", "device gpu: is unknown, expected cpu, cuda"),
        ("table", "{config} --table tabel1 {files}", "--table: 'tabel1' is not in the config. Did you mean 'table1'?"),
        (
            "figure",
            "{config} --figure frontir --root x --reported x --out x",
            "--figure: 'frontir' is not in the config. Did you mean",
        ),
        (
            "analyse",
            "{config} --analysis drfit --root x --out x",
            "--analysis: 'drfit' is not in the config. Did you mean",
        ),
        (
            "index",
            "--config {tmp}/text.yaml --root x --reported x --out x",
            "text.yaml: holds text, expected a mapping",
        ),
        (
            "judge",
            "{config} --root {tmp}/gone --claims x --reported x --out x",
            "{tmp}/gone: no such folder of results",
        ),
        (
            "judge",
            "{config} --root {tmp} --claims config/claims.yaml --reported {tmp}/gone.csv --out x",
            "{tmp}/gone.csv: No such file or directory. Correct the path.",
        ),
    ],
)
def test_what_is_called_wrongly_is_one_line_with_the_fix(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    options: str,
    words: str,
) -> None:
    (tmp_path / "text.yaml").write_text("just text\n")
    monkeypatch.chdir(ROOT)
    files = "--statistics x --reported x --csv x --markdown x --latex x"
    texts = {"tmp": tmp_path, "config": "--config config/smoke.yaml", "files": files}
    assert words.format(**texts) in called(monkeypatch, capsys, name, *options.format(**texts).split())


@pytest.mark.parametrize("name", ["smoke", "micro", "paper"])
def test_json_of_a_call_is_short(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("editfrontier.running.jobs.weights_hash", lambda model: 12 * "0")  # they need not be here
    study = load_study([Path(f"config/{name}.yaml")])
    specs = [edit_spec(study, task, variant) for task, variants in study.variants.items() for variant in variants]
    assert max(map(len, [*specs, references(evaluators_for_sources(study))])) < 2000
