"""Write the self-contained page of results of a study."""

from __future__ import annotations

from editfrontier import program


def main(config: program.Config, root: program.Root, reported: program.Reported, out: program.Out) -> None:
    from editfrontier.study.config.study import load_study
    from editfrontier.study.report import build_report

    study = load_study([config])
    build_report(root, study.config, study.tables, reported, out, root / "benchmarks")


if __name__ == "__main__":
    program.run(main)
