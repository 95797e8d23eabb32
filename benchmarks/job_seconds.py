"""Write config/job_seconds.csv, from which a run's first estimate comes, from the benchmark files of a whole run.

Run by hand, from the root of the repository, after a study that was made from nothing:

    python benchmarks/job_seconds.py results/micro
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from editfrontier.running.progress import SECONDS, table_of


def main() -> None:
    """Replace the rows of the rules that the run measured; others stay."""
    made = table_of(Path(sys.argv[1]) / "benchmarks")
    if not made:
        sys.exit(f"error: {sys.argv[1]}/benchmarks holds no measured job. Run the study first.")
    rules = {rule for rule, _, _ in made}
    rows = [(rule, name, f"{seconds:g}") for rule, name, seconds in made]
    if SECONDS.is_file():
        with SECONDS.open(encoding="utf-8", newline="") as file:
            rows += [tuple(row.values()) for row in csv.DictReader(file) if row["rule"] not in rules]
    with SECONDS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("rule", "name", "seconds"))
        writer.writerows(sorted(rows))
    print(f"{len(rows)} rows in {SECONDS}")


if __name__ == "__main__":
    main()
