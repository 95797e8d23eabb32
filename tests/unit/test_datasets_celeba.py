"""CelebA-HQ: joins, balance, edit masks, regions and exemplars, on a fixture in the published format."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celeba_files import draw_face, labels, original, pack, table, write_celeba
from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_cases, read_image, read_mask
from editfrontier.data.dataset import get_dataset
from editfrontier.data.datasets import celeba_hq
from editfrontier.data.language import load_language
from editfrontier.data.reading import celeba_faces, face_attributes, parsing
from editfrontier.data.reading.build import build_task

SIZE = 128


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_celeba(tmp_path_factory.mktemp("celeba") / "celeba_hq", size=192)


@pytest.fixture(autouse=True)
def no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture's tables are not those whose checksums are known."""
    files = tuple(dataclasses.replace(file, md5="") for file in celeba_hq.DATASET.files)
    monkeypatch.setattr(celeba_hq, "DATASET", dataclasses.replace(celeba_hq.DATASET, files=files))


def build(raw: Path, out: Path, n: int = 8, **options: object) -> list[Case]:
    return build_task("faces", n, 0, out, dataset="celeba_hq", root=str(raw), **{"size": SIZE, **options})


def number_of(case: Case) -> int:
    return int(case.cluster.removeprefix("celeba_hq-"))


@pytest.fixture(scope="module")
def built(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], Path]:
    out = tmp_path_factory.mktemp("built")
    return build(raw, out, n=15), out


def test_cases_are_read_back_as_they_were_built(built: tuple[list[Case], Path]) -> None:
    cases, out = built
    assert read_cases(out / "cases.parquet") == cases
    assert len(cases) == 15
    for case in cases:
        assert read_image(out / case.image).shape == (SIZE, SIZE, 3)
        assert read_mask(out / case.mask, (SIZE, SIZE)).any()
        assert read_image(out / case.exemplar).shape == (SIZE, SIZE, 3)
        assert read_mask(out / case.exemplar_mask, (SIZE, SIZE)).any()
        assert (case.mask_origin, case.split) == ("human", "test")
        assert "non-commercial" in case.licence


def test_labels_are_those_of_the_image_and_the_split_is_joined_on_the_file_name(
    built: tuple[list[Case], Path],
) -> None:
    cases, _ = built
    for case in cases:
        number = number_of(case)
        assert number >= 6  # images 0 to 5 are of the training part
        row = labels(number)
        source = json.loads(case.source_attributes)
        assert source["smile"] == row["Smiling"]
        assert source["old"] == (not row["Young"])
        assert source["beard"] == (not row["No_Beard"])
        target = json.loads(case.target_attributes)
        assert target[case.attribute] == case.desired != source[case.attribute]
        changed = {name for name in source if source[name] != target[name]}
        hair = {"black_hair", "brown_hair", "blond_hair", "grey_hair"}
        assert changed == {case.attribute} or (case.attribute in hair and changed < hair and len(changed) == 2)


def test_an_image_serves_one_case_and_no_image_serves_itself_as_exemplar(built: tuple[list[Case], Path]) -> None:
    cases, out = built
    assert len({case.cluster for case in cases}) == len(cases)
    for case in cases:
        assert (read_image(out / case.exemplar) != read_image(out / case.image)).any()


def test_more_cases_start_with_the_same_ones(raw: Path, built: tuple[list[Case], Path], tmp_path: Path) -> None:
    assert build(raw, tmp_path, n=4) == built[0][:4]


def test_another_seed_takes_other_images(raw: Path, built: tuple[list[Case], Path], tmp_path: Path) -> None:
    other = build_task("faces", 6, 1, tmp_path, dataset="celeba_hq", root=str(raw), size=SIZE)
    assert [case.cluster for case in other] != [case.cluster for case in built[0][:6]]


def test_cases_are_balanced_over_directions(raw: Path, tmp_path: Path) -> None:
    cases = build(raw, tmp_path, n=12, attributes=["smile", "glasses"], split="all")
    counts = Counter((case.attribute, case.desired) for case in cases)
    assert counts == dict.fromkeys([("smile", True), ("smile", False), ("glasses", True), ("glasses", False)], 3)


def test_fewer_images_than_asked_give_fewer_cases_and_a_line_in_the_log(
    raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cases = build(raw, tmp_path, n=200, attributes=["glasses"])
    assert 0 < len(cases) < 200
    assert f"gives {len(cases)} cases, 200 were asked for" in caplog.text


def test_faces_whose_part_is_hidden_get_no_edit_of_it(raw: Path, tmp_path: Path) -> None:
    cases = build(raw, tmp_path, n=200, attributes=["earrings"], split="all")
    assert 3 not in {number_of(case) for case in cases}
    assert {number_of(case) for case in cases} == set(range(24)) - {3}


def test_beards_are_not_put_on_faces_that_are_not_labelled_male_nor_hair_dyed_under_a_hat() -> None:
    row = {**labels(2), "Male": False}
    assert row["No_Beard"]
    assert not face_attributes.editable(row, "beard", True)
    assert face_attributes.editable({**row, "Male": True}, "beard", True)
    assert face_attributes.editable({**row, "No_Beard": False}, "beard", False)
    hair = {
        **row,
        "Blond_Hair": True,
        "Black_Hair": False,
        "Brown_Hair": False,
        "Gray_Hair": False,
        "Wearing_Hat": False,
    }
    assert face_attributes.editable(hair, "black_hair", True)
    assert not face_attributes.editable({**hair, "Wearing_Hat": True}, "black_hair", True)
    assert not face_attributes.editable({**hair, "Brown_Hair": True}, "black_hair", True)


def test_captions_say_what_is_known_and_no_more() -> None:
    lang = load_language()
    assert face_attributes.face_caption(lang, {}) == "a portrait of a person"
    assert face_attributes.face_caption(lang, {"old": True, "grey_hair": True, "glasses": True}) == (
        "a portrait of an old person with grey hair and glasses"
    )
    assert face_attributes.face_caption(lang, {"grey_hair": True, "black_hair": True}) == "a portrait of a person"


def test_masks_of_512_lie_on_images_of_1024_as_they_are_drawn(raw: Path, built: tuple[list[Case], Path]) -> None:
    parts = parsing.read_parts(raw / "CelebAMask-HQ-mask-anno", 6, SIZE)
    rows, columns = np.nonzero(parts["nose"])
    # The ellipse in the box (238, 240, 274, 310) of 512 pixels, both ends included.
    assert columns.mean() * 4 + 1.5 == pytest.approx(256, abs=1)
    assert rows.mean() * 4 + 1.5 == pytest.approx(275, abs=1)
    assert parts["nose"].sum() * 16 == pytest.approx(np.pi / 4 * 37 * 71, rel=0.03)
    assert not parts["hat"].any()


def test_images_of_1024_are_scaled_with_their_masks(tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "large", count=3, size=1024)
    (case,) = build(root, tmp_path / "out", n=1, attributes=["lipstick"], split="all")
    mask, pixels = (
        read_mask(tmp_path / "out" / case.mask, (SIZE, SIZE)),
        read_image(tmp_path / "out" / case.image),
    )
    expected = draw_face(number_of(case), 1024).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    assert np.abs(pixels.astype(int) - np.asarray(expected).astype(int)).mean() < 3  # a JPEG file lies between them
    rows, columns = np.nonzero(mask)
    assert (columns.mean() + 0.5) * 4 == pytest.approx(256, abs=2)  # the lips lie around (256, 353) of 512 pixels
    assert (rows.mean() + 0.5) * 4 == pytest.approx(353, abs=4)


def test_regions_are_disjoint_and_later_parts_own_the_pixels(raw: Path, built: tuple[list[Case], Path]) -> None:
    regions = parsing.face_regions(parsing.read_parts(raw / "CelebAMask-HQ-mask-anno", 2, SIZE))
    total = np.sum([mask.astype(int) for mask in regions.values()], axis=0)
    assert total.max() == 1
    assert set(regions) == {*parsing.REGIONS, "background"}  # image 2 wears glasses
    eyes, glasses = regions["eyes"], regions["accessory"]
    assert eyes.any() and glasses.any()  # the eyes come behind the glasses in the authors' order
    cases, out = built
    for case in cases:
        names = json.loads(case.regions)
        assert {"eyes", "nose", "mouth", "skin", "hair", "background"} <= set(names)
        for path in names.values():
            read_mask(out / path, (SIZE, SIZE))


@pytest.mark.parametrize("attribute", parsing.EDIT_MASKS)
@pytest.mark.parametrize("desired", [True, False])
def test_edit_masks_cover_what_they_are_about_and_leave_most_of_the_rest(
    raw: Path, attribute: str, desired: bool
) -> None:
    size = 256
    wearer = {"glasses": 2, "hat": 7, "earrings": 4, "necklace": 6}.get(attribute, 8)
    number = 8 if desired else wearer
    parts = parsing.read_parts(raw / "CelebAMask-HQ-mask-anno", number, size)
    mask = parsing.edit_mask(parts, attribute, desired)
    assert mask is not None and 0.002 < mask.mean() < 0.4
    inside = {
        "smile": "u_lip l_lip mouth", "open_mouth": "u_lip l_lip mouth", "lipstick": "u_lip l_lip",
        "glasses": "l_eye r_eye", "old": "skin nose", "bangs": "l_brow r_brow",
        "black_hair": "hair", "brown_hair": "hair", "blond_hair": "hair", "grey_hair": "hair",
        "hat": "hair" if not desired else "", "necklace": "neck" if desired else "neck_l",
        "earrings": "" if desired else "ear_r", "beard": "", "moustache": "u_lip",
    }[attribute].split()  # fmt: skip
    for part in inside:
        assert mask[parts[part]].mean() > 0.95, part
    outside = {
        "smile": "l_eye hair", "lipstick": "nose", "glasses": "mouth cloth", "hat": "mouth nose l_eye",
        "beard": "u_lip l_lip l_eye hair", "moustache": "l_eye neck", "bangs": "mouth nose l_eye",
        "earrings": "nose mouth", "necklace": "mouth nose", "black_hair": "mouth l_eye", "old": "cloth",
    }.get(attribute, "").split()  # fmt: skip
    for part in outside:
        assert mask[parts[part]].mean() < 0.25, part


def test_the_archive_is_unpacked_and_gives_the_same_cases(
    raw: Path, built: tuple[list[Case], Path], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    pack(raw, root / "CelebAMask-HQ.zip")
    shutil.copy(raw / "list_eval_partition.txt", root)
    assert build(root, tmp_path / "out", n=3) == built[0][:3]
    assert (root / "CelebA-HQ-img" / "23.jpg").is_file()


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_folder_too_deep_is_named_with_the_fix(raw: Path, tmp_path: Path) -> None:
    inner = tmp_path / "data" / "CelebAMask-HQ"
    inner.parent.mkdir()
    inner.symlink_to(raw)
    with pytest.raises(UserError, match=r"one folder too deep. Move the content of .*CelebAMask-HQ to .*data"):
        build(tmp_path / "data", tmp_path / "out")


def test_without_data_the_message_says_what_goes_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITFRONTIER_DATA", str(tmp_path / "shelf"))
    with pytest.raises(UserError) as error:
        build_task("faces", 4, 0, tmp_path / "out", dataset="celeba_hq")
    assert str(tmp_path / "shelf" / "celeba_hq" / "CelebAMask-HQ.zip") in str(error.value)
    assert "agreement" in str(error.value) and "EDITFRONTIER_DATA" in str(error.value)
    assert not (tmp_path / "out" / "cases.parquet").exists()


@pytest.fixture
def copy(raw: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(raw, tmp_path / "copy"))


def test_the_partition_is_needed_for_its_parts_only(copy: Path, tmp_path: Path) -> None:
    (copy / "list_eval_partition.txt").unlink()
    with pytest.raises(UserError, match=r"list_eval_partition.txt .*mmlab"):
        build(copy, tmp_path / "out")
    assert build(copy, tmp_path / "out", n=2, split="all")


def test_a_truncated_attribute_table_is_refused(copy: Path, tmp_path: Path) -> None:
    path = copy / "CelebAMask-HQ-attribute-anno.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    with pytest.raises(UserError, match="has 22 images but says 24. It is truncated"):
        build(copy, tmp_path / "out")
    path.write_text("".join(lines)[:-20])
    with pytest.raises(UserError, match=r"line 26: expected a file name and 40 values"):
        build(copy, tmp_path / "out")


def test_an_image_labelled_twice_is_refused(tmp_path: Path) -> None:
    text = table({"0.jpg": labels(0), "1.jpg": labels(1)}).replace("1.jpg", "0.jpg")
    path = tmp_path / "table.txt"
    path.write_text(text)
    with pytest.raises(UserError, match="line 4: names 0.jpg a second time"):
        face_attributes.read_attribute_table(path)


def test_windows_line_ends_and_a_last_empty_line_are_read(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text(table({"0.jpg": labels(0)}).replace("\n", "\r\n") + "\r\n")
    assert face_attributes.read_attribute_table(path) == {"0.jpg": labels(0)}


def test_a_mapping_whose_numbers_do_not_fit_is_refused(copy: Path, tmp_path: Path) -> None:
    path = copy / "CelebA-HQ-to-CelebA-mapping.txt"
    assert celeba_faces.read_mapping(path)["1"] == f"{original(1) + 1:06d}.jpg"
    good = path.read_text()
    path.write_text(good.replace(f"{original(1) + 1:06d}.jpg", f"{original(1):06d}.jpg"))
    with pytest.raises(UserError, match=r"line 3: .* expected a number"):
        build(copy, tmp_path / "out")
    path.write_text(good.partition("\n")[2])
    with pytest.raises(UserError, match="expected 'idx orig_idx orig_file'"):
        build(copy, tmp_path / "out")
    path.write_text(good + good.splitlines()[1] + "\n")
    with pytest.raises(UserError, match="image 0 comes twice"):
        build(copy, tmp_path / "out")


def test_an_image_that_is_none_is_named(copy: Path, tmp_path: Path) -> None:
    for path in (copy / "CelebA-HQ-img").iterdir():
        path.write_text("<html>Quota exceeded</html>")
    with pytest.raises(UserError, match=r"CelebA-HQ-img/\d+.jpg: is no readable image"):
        build(copy, tmp_path / "out")


def test_a_truncated_image_is_named(copy: Path, tmp_path: Path) -> None:
    for path in (copy / "CelebA-HQ-img").iterdir():
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"CelebA-HQ-img/\d+.jpg: is no readable image"):
        build(copy, tmp_path / "out")


def test_an_image_that_is_too_small_or_not_square_is_named(copy: Path, tmp_path: Path) -> None:
    for path in (copy / "CelebA-HQ-img").iterdir():
        Image.open(path).resize((64, 64)).save(path)
    with pytest.raises(UserError, match=r"is 64x64 pixels, smaller than the 128x128"):
        build(copy, tmp_path / "out")
    for path in (copy / "CelebA-HQ-img").iterdir():
        Image.open(path).resize((178, 218)).save(path)
    with pytest.raises(UserError, match=r"is 178x218 pixels, expected a square"):
        build(copy, tmp_path / "out")


def test_a_mask_of_another_size_is_named(copy: Path, tmp_path: Path) -> None:
    for path in (copy / "CelebAMask-HQ-mask-anno").rglob("*_nose.png"):
        Image.open(path).resize((256, 256)).save(path)
    with pytest.raises(UserError, match=r"_nose.png: is 256x256 pixels but \d+_skin.png of the same face is 512x512"):
        build(copy, tmp_path / "out")


def test_a_missing_folder_of_masks_is_named(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "CelebAMask-HQ-mask-anno" / "0", copy / "CelebAMask-HQ-mask-anno" / "1")
    with pytest.raises(UserError, match=r"CelebAMask-HQ-mask-anno/0: there is no such folder of parsing masks"):
        build(copy, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attributes": ["smiel"]}, "option 'attributes': CelebA has no 'smiel'. Did you mean 'smile'"),
        ({"split": "dev"}, "expected one of test, val, train, all"),
        ({"free_form_share": 2.0}, "option 'free_form_share': 2.0, expected 0 to 1"),
        ({"size": 4}, "option 'size': 4, expected at least 16"),
        ({"masks": "automatic"}, "needs the option 'sam'"),
        ({"populaton": "studio"}, "there is no such option"),
    ],
)
def test_wrong_options_are_named(raw: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(raw, tmp_path, **options)


def test_identities_are_taken_where_their_file_is(copy: Path, tmp_path: Path) -> None:
    assert build(copy, tmp_path / "out", n=1)[0].identity.startswith("celeba_hq-")
    (copy / "identity_CelebA.txt").write_text("".join(f"{file:06d}.jpg {file % 3}\n" for file in range(1, 100)))
    cases = build(copy, tmp_path / "out", n=4)
    for case in cases:
        assert case.identity == f"celeba-{(original(number_of(case)) + 1) % 3}"


def test_a_truncated_table_of_identities_is_refused(copy: Path, tmp_path: Path) -> None:
    # Without a word, two photos of one person would count as two people.
    for rows in (range(1, 20), ()):
        (copy / "identity_CelebA.txt").write_text("".join(f"{file:06d}.jpg {file % 3}\n" for file in rows))
        with pytest.raises(UserError, match=r"identity_CelebA.txt: has no row of \d{6}.jpg. It is truncated"):
            build(copy, tmp_path / "out", n=1)


def test_a_partition_of_other_parts_is_refused(copy: Path, tmp_path: Path) -> None:
    path = copy / "list_eval_partition.txt"
    path.write_text(path.read_text().replace(" 2\n", " test\n"))
    with pytest.raises(UserError, match=r"list_eval_partition.txt: has the part 'test', expected 0, 1 or 2"):
        build(copy, tmp_path / "out", n=1)


def test_a_table_without_an_attribute_is_refused(copy: Path, tmp_path: Path) -> None:
    path = copy / "CelebAMask-HQ-attribute-anno.txt"
    path.write_text(path.read_text().replace("Smiling", "Smilin"))
    with pytest.raises(UserError, match=r"attribute-anno.txt: has no attribute 'Smiling' in line 2"):
        build(copy, tmp_path / "out", n=4)


def test_masks_that_were_not_unpacked_to_the_end_are_no_hidden_parts(copy: Path, tmp_path: Path) -> None:
    for path in (copy / "CelebAMask-HQ-mask-anno" / "0").iterdir():
        if int(path.name[:5]) > 8:
            path.unlink()
    with pytest.raises(UserError, match=r"has no mask of image \d+, expected \d+_skin.png.*not unpacked to its end"):
        build(copy, tmp_path / "out", n=6)


def test_the_data_set_is_found_by_its_name() -> None:
    assert get_dataset("celeba_hq").title.startswith("CelebA-HQ")
