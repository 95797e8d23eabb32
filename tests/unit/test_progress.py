"""The estimate of a run and its progress."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest

from editfrontier.running.progress import Job, Progress, follow, measured, minutes, read_seconds, table_of, work

TABLE = {("edit", ""): 30.0, ("edit", "sdedit"): 20.0, ("score", ""): 10.0, ("analyse", "drift"): 40.0}
HEAD = "s\th:m:s\tmax_rss\tcpu_time\n"


def benchmark(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + "".join(f"{row}\n" for row in rows))
    return path


def test_work_comes_from_an_earlier_run_then_from_the_table(tmp_path: Path) -> None:
    before = benchmark(tmp_path / "a.tsv", "22.5\t0:00:22\t100\t9")
    assert work(Job("edit", ("sdedit", "portraits"), before), TABLE) == 22.5
    assert work(Job("edit", ("sdedit", "portraits"), tmp_path / "none.tsv"), TABLE) == 20.0
    assert work(Job("edit", ("sdedit+strength=0.3", "portraits")), TABLE) == 20.0
    of_task = TABLE | {("edit", "drags/sdedit"): 11.0}
    assert work(Job("edit", ("drags/sdedit+strength=0.3", "sdedit+strength=0.3", "drags")), of_task) == 11.0
    assert work(Job("edit", ("scenes/sdedit", "sdedit", "scenes")), of_task) == 20.0
    assert work(Job("edit", ("mask_guided", "portraits")), TABLE) == 30.0
    assert work(Job("analyse", ("drift",)), TABLE) == 40.0
    assert 0 < work(Job("table", ("table1",)), TABLE) < 20


def test_benchmark_files_are_read_with_care(tmp_path: Path) -> None:
    assert measured(benchmark(tmp_path / "two.tsv", "2\t0\t1\t2", "4\t0\t1\t4")) == 3.0
    assert math.isnan(measured(benchmark(tmp_path / "unknown.tsv", "-\t0\t1\t-")))
    assert math.isnan(measured(benchmark(tmp_path / "empty.tsv")))
    assert math.isnan(measured(None))


def test_times_are_rounded() -> None:
    texts = [minutes(60 * count) for count in (0.5, 1.2, 7.4, 23, 58, 130, 900)]
    assert texts == [
        "under a minute",
        "about 1 minute",
        "about 7 minutes",
        "about 25 minutes",
        "about 60 minutes",
        "about 2.2 hours",
        "about 15 hours",
    ]


def test_run_takes_as_long_as_its_work_on_its_cores_and_as_its_longest_job() -> None:
    assert Progress([600.0, 600.0, 600.0], 2).total == 900.0
    assert Progress([600.0, 10.0], 8).total == 600.0
    assert Progress([600.0, 600.0, 600.0], 2).first_line() == "3 jobs on 2 cores: about 15 minutes (estimate)"
    assert Progress([], 2).first_line() == "0 jobs on 2 cores: under a minute (estimate)"


def test_remaining_time_follows_the_table_first_and_the_measured_speed_then() -> None:
    now = [0.0]
    progress = Progress([100.0] * 20, 2, lambda: now[0])
    now[0] = 500.0
    # One of twenty: too little to tell the speed, so 95% of the estimate of 1000 s.
    assert progress.remaining([True] + [False] * 19) == pytest.approx(950.0)
    # Half of the work took 500 s, as expected; a quarter in 500 s means half the speed.
    assert progress.remaining([True] * 10 + [False] * 10) == pytest.approx(500.0)
    assert progress.remaining([True] * 5 + [False] * 15) == pytest.approx(1500.0)
    line = progress.line([True] * 5 + [False] * 15)
    assert line == "5 of 20 jobs done, 25 % of the work, about 25 minutes left (estimate)"
    assert progress.remaining([True] * 20) == 0.0


def test_lines_come_while_jobs_finish_and_end_with_them() -> None:
    states = iter([[False, False], [True, False], [True, False], [True, True]])
    said: list[str] = []
    stop = follow([Job("table"), Job("table")], lambda: next(states), 1, said.append, period=0.01)
    thread = next(thread for thread in threading.enumerate() if thread.name == "progress")
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert not stop.is_set()
    # Nothing is said where nothing has finished since the last line, nor after the end.
    assert [line.partition(",")[0] for line in said] == [said[0].partition(",")[0], "1 of 2 jobs done"]
    assert said[0].startswith("2 jobs on 1 core: ")


def test_table_of_a_run_has_medians_by_editor_and_analysis(tmp_path: Path) -> None:
    for name, seconds in (("sdedit", 10), ("sdedit+strength=0.3", 20), ("sdedit+strength=0.9", 90), ("source", 4)):
        benchmark(tmp_path / "edit" / "portraits" / name / "shard-0.tsv", f"{seconds}\t0\t1\t1")
    benchmark(tmp_path / "analyse" / "drift.tsv", "7\t0\t1\t1")
    benchmark(tmp_path / "score" / "drags" / "sdedit.tsv", "6\t0\t1\t1")
    benchmark(tmp_path / "validation.tsv", "33\t0\t1\t1")
    assert table_of(tmp_path) == [
        ("analyse", "", 7.0),
        ("analyse", "drift", 7.0),
        ("edit", "", 15.0),
        ("edit", "portraits/sdedit", 20.0),
        ("edit", "portraits/source", 4.0),
        ("edit", "sdedit", 20.0),
        ("edit", "source", 4.0),
        ("score", "", 6.0),
        ("score", "drags", 6.0),
        ("validation", "", 33.0),
    ]


def test_the_committed_table_knows_the_rules_that_cost() -> None:
    table = read_seconds()
    assert {rule for rule, name in table if name == ""} >= {"edit", "score", "sources", "summarise", "validation"}
    assert all(seconds > 0 for seconds in table.values())
