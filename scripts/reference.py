"""Make the reference images, or check the published statistics, that FID and KID compare with."""

from __future__ import annotations

from pathlib import Path

from editfrontier import program


def main(spec: program.Spec, out: program.Out) -> None:
    if "statistics" in spec:
        from editfrontier.scoring.metrics.moments import copy_moments

        count = copy_moments(Path(spec["statistics"]), program.field(spec, "preprocessing", "--spec"), out)
        print(f"statistics of {count} features in {out}")
        return
    count, seed = (program.count(spec, key, "--spec") for key in ("images", "seed"))
    if "dataset" in spec:
        from editfrontier.data.reading.reference import build_reference as copy_reference

        copy_reference(spec["dataset"], count, seed, out, **spec.get("options", {}))
    else:
        from editfrontier.microworld.dataset import build_reference

        build_reference(count, seed, program.field(spec, "population", "--spec"), out)
    print(f"{count} images in {out}")


if __name__ == "__main__":
    program.run(main)
