"""Make the cases of a task: a case table and the images beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from editfrontier import program


def main(
    spec: program.Spec,
    out: program.Out,
    language: Annotated[Path | None, "captions and instructions"] = None,
) -> None:
    task, dataset = (program.field(spec, key, "--spec") for key in ("task", "dataset"))
    count, seed = (program.count(spec, key, "--spec") for key in ("cases", "seed"))
    options = {"repeats": spec.get("repeats", 1), **spec.get("options", {})}
    from editfrontier.data.dataset import RENDERED

    if dataset in RENDERED:
        from editfrontier.microworld.dataset import build_task
    else:
        from editfrontier.data.reading.build import build_task
    cases = build_task(task, count, seed, out.parent, dataset=dataset, language=language, **options)
    print(f"{len(cases)} cases in {out}")


if __name__ == "__main__":
    program.run(main)
