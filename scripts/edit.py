"""Edit one shard of a task with one variant; status 1 if no case could be edited."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from editfrontier import program


def main(
    cases: program.Cases,
    spec: program.Spec,
    record: Annotated[Path, "record to write: one row a case"],
    images: Annotated[Path, "folder of the edited images; finished ones are taken over"],
    shard: Annotated[int, "which part of the cases"] = 0,
    shards: Annotated[int, "into how many parts the cases are split"] = 1,
    batch_size: Annotated[int, "cases edited at once; rounds differently"] = 16,
    device: program.Device = "cpu",
    inversions: Annotated[Path | None, "folder of inversions that edits share; it may grow"] = None,
    may_fail: Annotated[bool, "end with status 0 where each case failed, as jobs of the workflow do"] = False,
) -> None:
    from editfrontier.base.fingerprints import canonical
    from editfrontier.base.precision import choose_device
    from editfrontier.editing.records import remove_other_shards
    from editfrontier.editing.shard import run_shard

    place = choose_device(device)
    print(f"spec {canonical(spec)}\nseed {spec.get('seed')}, device {place}, shard {shard} of {shards}", flush=True)
    rows = run_shard(cases, shard, shards, spec, record, images, batch_size, place, inversions=inversions)
    remove_other_shards(record, shards)
    if rows and not may_fail and all(row.status != "ok" for row in rows):
        sys.exit(f"error: no case was edited. The reasons stand above, and case by case in {record}.")


if __name__ == "__main__":
    program.run(main)
