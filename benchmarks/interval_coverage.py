"""How often 95% intervals hold the truth, by simulation on rendered edits.

Run by hand from the root of the repository:

    OMP_NUM_THREADS=1 python benchmarks/interval_coverage.py

A population of rendered portraits is edited by cheap means and measured; its means are the truth. Studies of 64
clusters are drawn from it, as many times as --studies says, with one case a cluster and with two, and the intervals
that the study would report are compared with the truth. A share of 0.95 over 2,000 studies has a standard error of
0.005.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from editfrontier.statistics.bootstrap import INTERVALS
from rendered_population import coverage, render_population


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=int, default=1500, help="in the population")
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--clusters", type=int, default=64, help="in a study")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for draws in (1, 2):
        population = render_population(options.portraits, draws, options.seed, Path("resources/micro/attributes"))
        found = coverage(population, options.studies, options.clusters, options.seed)
        print(f"{options.clusters} clusters of {draws}, {options.studies} studies")
        kinds = ("reported", *INTERVALS)
        print(f"  {'quantity':28}{'mean':>9}" + "".join(f"{kind:>13}" for kind in kinds))
        values = population.values.mean(axis=(0, 1))
        for name, shares in found.items():
            editor, metric = name.split()
            column = population.metrics.index(metric)
            mean = values[0, column] - values[1, column] if editor == "difference" else None
            mean = values[("weak", "strong").index(editor), column] if mean is None else mean
            print(f"  {name:28}{mean:9.3f}" + "".join(f"{shares[kind]:13.3f}" for kind in kinds), flush=True)


if __name__ == "__main__":
    main()
