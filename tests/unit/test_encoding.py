"""Text files are UTF-8, whatever the locale of the machine says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.base.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(file for folder in ("src", "scripts", "benchmarks") for file in (ROOT / folder).rglob("*.py"))
OPENERS = {"open", "fdopen", "read_text", "write_text", "TextIOWrapper", "NamedTemporaryFile", "TemporaryFile"}
NO_TEXT = {"Image", "tarfile", "opened", "os"}  # what these open is no text
RUNNERS = {"run", "Popen", "check_output"}


def calls_by_locale(text: str) -> list[str]:
    """The calls of a program that read or write text and leave the encoding to the locale."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and _is_by_locale(node.func, node)
    ]


def _is_by_locale(function: ast.expr, call: ast.Call) -> bool:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords:
        return False
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""
    if name in RUNNERS:
        return bool({"text", "universal_newlines"} & set(keywords))
    values = [node for argument in (*call.args, *keywords.values()) for node in ast.walk(argument)]
    constants = [node.value for node in values if isinstance(node, ast.Constant)]
    binary = any(isinstance(value, str) and re.fullmatch(r"[rwax+]{1,2}b\+?", value) for value in constants)
    return name in OPENERS and not binary and (owner not in NO_TEXT or name == "fdopen")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("path.read_text()", 1),
        ("path.read_text(errors='replace')", 1),
        ("place().open(newline='')", 1),
        ("open(path, 'w')", 1),
        ("os.fdopen(handle, 'w')", 1),
        ("subprocess.run(command, text=True)", 1),
        ("path.read_text(encoding='utf-8')", 0),
        ("path.open('rb')", 0),
        ("path.open('ab' if more else 'wb')", 0),
        ("Image.open(path)", 0),
        ("subprocess.run(command, capture_output=True)", 0),
    ],
)
def test_a_call_that_leaves_the_encoding_to_the_locale_is_seen(text: str, found: int) -> None:
    assert len(calls_by_locale(text)) == found


def test_programs_name_the_encoding_of_text() -> None:
    found = {str(file.relative_to(ROOT)): calls_by_locale(file.read_text(encoding="utf-8")) for file in PROGRAMS}
    assert len(found) > 300 and {file: calls for file, calls in found.items() if calls} == {}


def test_rules_name_the_encoding_of_text() -> None:
    for file in (ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"\b(open|read_text|write_text)\((?!.*encoding=)", line), f"{file}: {line}"


def test_files_are_read_as_utf8_where_the_locale_is_another(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("title: café 猫\n", encoding="utf-8")
    (tmp_path / "b.tsv").write_text("s\tcafé\n1.5\t猫\n", encoding="utf-8")
    code = """if True:
        import locale, sys
        from pathlib import Path
        from editfrontier.editing.records import open_journal
        from editfrontier.running.progress import measured
        from editfrontier.base.yaml_files import read_yaml
        assert locale.getencoding().lower() not in ("utf-8", "utf8"), locale.getencoding()
        folder = Path(sys.argv[1])
        assert measured(folder / "b.tsv") == 1.5
        assert read_yaml(folder / "a.yaml") == {"title": "caf\\u00e9 \\u732b"}
        with open_journal(folder / "c.jsonl") as lines:
            lines.write("caf\\u00e9")
    """
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "c.jsonl").read_text(encoding="utf-8") == "café"


def test_a_config_in_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("title: café\n".encode("latin-1"))
    with pytest.raises(UserError, match="a.yaml: is not in UTF-8"):
        read_yaml(tmp_path / "a.yaml")


def test_one_reader_of_yaml_and_one_writer_of_png() -> None:
    readers = {"base/yaml_files.py": r"yaml\.(safe_)?load\w*\(", "data/cases.py": r"format=\"PNG\"|\.save\(\w*path"}
    source = ROOT / "src/editfrontier"
    for home, pattern in readers.items():
        files = {
            str(file.relative_to(source))
            for file in source.rglob("*.py")
            if re.search(pattern, file.read_text("utf-8"))
        }
        assert files == {home}
