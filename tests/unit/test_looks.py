"""Looks of editors: each known editor has one of its own, and those from outside have none of these."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from editfrontier.editing.editor import EDITORS
from editfrontier.study.figure import FigureInputs
from editfrontier.study.figures import frontier
from editfrontier.study.results.naming import (
    Row,
    editor_label,
    group_styles,
    is_control,
    parse_table,
    read_reported,
    row_styles,
    styles,
)
from experiments_fixture import add_experiments
from study_fixture import make_study

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = tuple(f"method_from_outside_{i}" for i in range(1, 7))
QUOTED = {method for method in read_reported(ROOT / "config/reported_values.csv")["method"] if method != "all"}
LOOKS = {
    "source": ("Source, unedited", "#6B6B6B", "o", True),
    "ready_made": ("Ready-made edits", "#0A3D62", "D", False),
    "autoencoder_round_trip": ("Autoencoder round trip", "#6B6B6B", "s", True),
    "random_image": ("Random other image", "#6B6B6B", "X", True),
    "true_edit": ("True edit", "#6B6B6B", "*", True),
    "reference": ("Reference against reference", "#6B6B6B", "P", True),
    "sdedit": ("SDEdit", "#D98200", "s", False),
    "sd_inpaint": ("SD inpainting", "#009E73", "^", False),
    "instruct_pix2pix": ("InstructPix2Pix", "#C2528B", "D", False),
    "mask_guided": ("Mask-guided", "#0072B2", "o", False),
    "tf_icon": ("TF-ICON", "#56B4E9", "v", False),
    "tf_icon_text": ("TF-ICON, text only", "#2F86B4", "<", False),
    "drag_flow": ("DragFlow", "#8C6D31", "P", False),
    "region_drag": ("Region drag", "#7F5FB5", ">", False),
    "point_drag": ("Point drag", "#D55E00", "X", False),
    "copy_paste": ("Copy and paste", "#6B6B6B", "D", True),
    "ultraedit": ("UltraEdit", "#D55E00", "h", False),
    "ultraedit_mask": ("UltraEdit with mask", "#A34700", "p", False),
    "flow_reconstruction": ("Inversion of the flow model", "#6B6B6B", "p", False),
    "diffusion_reconstruction": ("Inversion of the diffusion model", "#6B6B6B", "h", False),
    "fireflow": ("FireFlow", "#00C2A8", "s", False),
    "ddim": ("DDIM", "#C9A0FF", "o", False),
}
KNOWN = tuple(sorted({*EDITORS.own_names(), *LOOKS, *QUOTED}))


def test_each_editor_is_called_and_drawn_as_its_own_file_says() -> None:
    """Readers of two versions of a study find the same names and looks."""
    look = styles(LOOKS)
    assert {n: (editor_label(n), look[n].colour, look[n].marker, look[n].control) for n in LOOKS} == LOOKS
    assert set(EDITORS.own_names()) <= set(LOOKS)


def test_no_two_editors_look_alike_known_or_from_outside() -> None:
    look = styles([*KNOWN, *OUTSIDE])
    pairs = [(style.colour, style.marker) for style in look.values()]
    assert len(set(pairs)) == len(KNOWN) + 6
    known = {look[name].colour for name in KNOWN}
    assert not known & {look[name].colour for name in OUTSIDE}
    assert len({look[name].marker for name in OUTSIDE}) == 6


def test_colours_from_outside_can_be_told_apart_from_all_others() -> None:
    look = styles([*KNOWN, *OUTSIDE])
    colours = sorted({look[name].colour for name in (*KNOWN, *OUTSIDE)})
    lab = {c: rgb2lab(np.array([int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)])) for c in colours}
    outside = {look[name].colour for name in OUTSIDE}
    gaps = [deltaE_ciede2000(lab[a], lab[b]) for a, b in itertools.combinations(colours, 2) if {a, b} & outside]
    assert min(gaps) > 15  # about 2 is just noticeable


@pytest.mark.parametrize("name", OUTSIDE[:1])
def test_an_editor_from_outside_looks_the_same_beside_any_known_ones(name: str) -> None:
    assert styles([name])[name] == styles([*KNOWN, name])[name]


def test_many_editors_from_outside_still_differ() -> None:
    look = styles([f"m{i:02}" for i in range(36)])
    assert len({(style.colour, style.marker) for style in look.values()}) == 36


def row(number: int, editor: str) -> Row:
    return Row(f"{editor}+n={number}", editor, f"{editor} {number}", "", "", is_control(editor))


def test_further_rows_of_an_editor_have_the_look_of_no_editor() -> None:
    rows = [row(i, name) for i in range(3) for name in ("mask_guided", "sdedit", *OUTSIDE)]
    found = row_styles(rows)
    pairs = [(found[r.variant].colour, found[r.variant].marker) for r in rows]
    assert len(set(pairs)) == len(rows)
    known = styles(KNOWN)
    own = {(known[name].colour, known[name].marker) for name in KNOWN if name not in ("mask_guided", "sdedit")}
    assert not own & set(pairs)


def test_groups_differ_as_many_as_there_are() -> None:
    rows = [Row(f"v{i}", "sdedit", f"row {i}", "", f"group {i}", False) for i in range(30)]
    look = group_styles(rows)
    assert len({(style.colour, style.marker) for style in look.values()}) == 30


def test_the_page_draws_every_marker() -> None:
    script = (ROOT / "reports/report.js").read_text(encoding="utf-8")
    drawn = re.search(r"const MARKERS = \{(.*?)\n\};", script, re.DOTALL)
    assert drawn
    names = set(re.findall(r'(?:^|[\s,])"?([^\s",:]+)"?: "M', drawn[1]))
    assert names >= {style.marker for style in styles([*KNOWN, *OUTSIDE]).values()}


def test_the_print_figure_has_a_look_of_its_own_for_each_editor(tmp_path: Path) -> None:
    """One from outside beside those that the paper alone has, TF-ICON among them."""
    study = add_experiments(make_study(tmp_path / "study", cases=2))
    statistics = study.root / "statistics" / "portraits.parquet"
    frame = pd.read_parquet(statistics)
    theirs = [frame[frame["variant"] == "sdedit"].assign(variant=name) for name in OUTSIDE]
    pd.concat([frame, *theirs]).to_parquet(statistics)
    table = {**study.tables["table1"]}
    table["rows"] = [*table["rows"], *({"variant": name} for name in OUTSIDE)]
    (legend,) = frontier.draw(FigureInputs(study.root, study.reported, parse_table(table))).legends
    drawn = {
        text.get_text(): (json.dumps(handle.get_color()), str(handle.get_marker()))
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert {"TF-ICON (paper only)", "UltraEdit (paper only)", *OUTSIDE} <= set(drawn)
    assert len(set(drawn.values())) == len(drawn)
