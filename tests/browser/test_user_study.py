"""The page of the user study in a real browser: a session by keyboard, a reload half-way, the export, its score."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from editfrontier.study.analyses.user_study import ANALYSIS
from editfrontier.study.analysis import NoParams
from editfrontier.study.userstudy.materials import Design
from editfrontier.study.userstudy.page import write_study
from editfrontier.study.userstudy.responses import Answer, collect_responses, read_session
from userstudy_fixture import HOSTILE, inputs_of, make_results, response, write_response

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

KEYS = {"left": ("ArrowLeft", "1"), "tie": ("ArrowDown", "2"), "right": ("ArrowRight", "3")}
SETTLED = 300  # ms after which the page takes an answer


class Study:
    """A study on disk with its page."""

    def __init__(self, root: Path) -> None:
        self.root = root
        values = {"id_sim": {"instruct_pix2pix": 0.1, "mask_guided": 0.2, "sd_inpaint": 0.3, "sdedit": 0.4}}
        self.table = make_results(root, cases=8, values=values)
        entry = {
            "experiment": "table1", "participants": 3, "pairs": 8, "raters": 2, "catch_trials": 2, "repeats": 2,
            "responses": str(root / "responses"),
        }  # fmt: skip
        self.page = root / "user_study" / "index.html"
        self.design: Design = write_study(root, self.table, entry, self.page, self.page.with_name("design.json"))

    def choices(self, participant: int) -> list[str]:
        """What the test answers: the better score, a tie now and then, the known answer of catch trials."""
        order = ["instruct_pix2pix", "mask_guided", "sd_inpaint", "sdedit"]
        found = []
        for number, trial in enumerate(self.design.trials[participant - 1]):
            better = "left" if trial.kind != "catch" and order.index(trial.left) > order.index(trial.right) else "right"
            found.append(trial.answer or ("tie" if number % 5 == 4 else better))
        return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("results"))


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page in a profile of its own, offline; errors of its script and any request fail the test."""
    options = getattr(request, "param", {})
    context = browser.new_context(accept_downloads=True, offline=True, **options)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else problems.append(r.url))
    yield opened
    context.close()
    assert problems == []


def begin(page: Page, study: Study, participant: int) -> None:
    """Fill in the first screen with the keyboard alone."""
    page.goto(study.page.as_uri())
    page.locator("#participant").focus()
    page.keyboard.type(str(participant))
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#trial:not([hidden])")


def answer(page: Page, number: int, key: str) -> None:
    """Wait for a trial and press a key."""
    page.wait_for_function(f"document.getElementById('count').textContent.startsWith('Pair {number} of ')")
    page.wait_for_timeout(SETTLED)
    page.keyboard.press(key)


def download(page: Page, button: str, folder: Path) -> Path:
    with page.expect_download() as started:
        page.locator(button).press("Enter")
    target = folder / started.value.suggested_filename
    folder.mkdir(parents=True, exist_ok=True)
    started.value.save_as(target)
    return target


def test_a_session_by_keyboard_with_a_reload_is_exported_and_scored(study: Study, page: Page, tmp_path: Path) -> None:
    choices = study.choices(2)
    assert set(choices) == {"left", "right", "tie"}
    begin(page, study, 2)
    for number, choice in enumerate(choices[:5], start=1):
        answer(page, number, KEYS[choice][number % 2])

    part = read_session(download(page, "#export-part", tmp_path / "part"), study.design)
    assert [part.answers[n].choice for n in range(1, 6)] == choices[:5]
    assert part.finished == ""

    page.reload()  # half-way: the session goes on at once, where it stopped
    page.wait_for_function("document.getElementById('count').textContent === 'Pair 6 of 12'")
    assert page.locator("#progress").evaluate("node => [node.value, node.max]") == [5, 12]
    answer(page, 6, {"left": "ArrowRight", "right": "ArrowLeft", "tie": "ArrowLeft"}[choices[5]])  # a mistake,
    page.wait_for_function("document.getElementById('count').textContent === 'Pair 7 of 12'")
    page.keyboard.press("Backspace")  # which is taken back
    page.wait_for_function("document.getElementById('count').textContent === 'Pair 6 of 12'")
    assert page.locator("[data-choice][aria-pressed=true]").count() == 1
    for number, choice in enumerate(choices[5:], start=6):
        answer(page, number, KEYS[choice][number % 2])
    page.wait_for_selector("#done:not([hidden])")
    assert page.evaluate("document.activeElement.textContent") == "Done, thank you"

    folder = tmp_path / "responses"
    file = download(page, "#export", folder)
    assert file.name == "participant-02-complete.json"
    session = read_session(file, study.design)
    assert session.faults == ()
    assert [session.answers[n].choice for n in range(1, 13)] == choices
    assert all(SETTLED * 0.8 <= session.answers[n].ms < 60_000 for n in range(1, 13))
    assert session.started < session.finished
    # The page writes what the fixture of the other tests writes.
    assert json.loads(file.read_text()).keys() == response(study.design, 2, lambda *_: "left").keys()

    # Together with another participant's file the export is scored by the analysis that the rule runs.
    other = study.choices(1)
    write_response(folder, "other.json", response(study.design, 1, lambda number, _: other[number - 1]))
    files = sorted(folder.iterdir())
    assert collect_responses(files, study.design).ignored == ()
    rows = list(ANALYSIS.run(inputs_of(study.root, study.table, files), NoParams()))
    found = {(row.quantity, row.variant, row.metric): row.value for row in rows}
    assert found["responses", "", ""] == 2
    assert found["catch_passed", "", ""] == 1.0
    order = sorted(study.design.editors, key=lambda name: -found["strength", name, ""])
    assert order == ["sdedit", "sd_inpaint", "mask_guided", "instruct_pix2pix"]
    assert found["spearman", "", "id_sim"] == pytest.approx(1.0)
    assert found["accuracy", "", "id_sim"] == 1.0


def test_nobody_begins_without_a_number_and_consent(study: Study, page: Page) -> None:
    page.goto(study.page.as_uri())
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.locator("#go").press("Enter")
    assert page.locator("#trial").is_hidden()
    page.select_option("#participant", "1")
    page.locator("#go").press("Enter")
    assert page.locator("#trial").is_hidden()
    page.check("#consent")
    page.locator("#go").press("Enter")
    assert page.locator("#trial").is_visible()


def test_the_address_names_the_participant_and_sessions_do_not_mix(study: Study, page: Page) -> None:
    page.goto(f"{study.page.as_uri()}#participant=3")
    assert page.input_value("#participant") == "3"
    page.check("#consent")
    page.locator("#go").press("Enter")
    answer(page, 1, "1")
    page.goto("about:blank")
    page.goto(study.page.as_uri())
    assert page.locator("#saved").is_hidden()
    page.select_option("#participant", "3")
    assert "1 of 12 answers of participant 3" in page.locator("#saved").text_content()
    page.select_option("#participant", "1")
    assert page.locator("#saved").is_hidden()
    page.select_option("#participant", "3")
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#forget").press("Enter")
    page.wait_for_selector("#saved", state="hidden")
    assert page.evaluate("localStorage.length") == 0


def test_a_key_held_down_or_pressed_at_once_answers_one_pair(study: Study, page: Page) -> None:
    begin(page, study, 1)
    page.wait_for_timeout(SETTLED)
    for _ in range(4):
        page.keyboard.down("ArrowLeft")  # without a release, the later ones are repeats
        page.wait_for_timeout(SETTLED)
    page.keyboard.up("ArrowLeft")
    assert page.locator("#count").text_content() == "Pair 2 of 12"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # too soon for anybody to have seen the next pair
    page.wait_for_function("document.getElementById('count').textContent === 'Pair 3 of 12'")
    page.wait_for_timeout(SETTLED)
    assert page.locator("#count").text_content() == "Pair 3 of 12"


def test_nothing_tells_editors_apart_and_hostile_text_stays_text(study: Study, page: Page) -> None:
    number = next(n for n, t in enumerate(study.design.trials[0], start=1) if t.case == "case-000")
    begin(page, study, 1)
    for n in range(1, number):
        answer(page, n, "2")
    page.wait_for_function(f"document.getElementById('count').textContent === 'Pair {number} of 12'")
    assert page.locator("#instruction").text_content() == HOSTILE
    assert page.title() != "owned"
    assert page.locator("#trial img").evaluate_all("nodes => nodes.map((node) => node.alt)") == [
        "The picture before the edit",
        "Attempt A",
        "Attempt B",
    ]
    assert HOSTILE in page.locator("#live").text_content()
    shown = page.locator("#trial").evaluate("node => node.outerHTML")
    assert not any(editor in shown for editor in study.design.editors)


def test_without_storage_the_page_says_so_and_works(study: Study, page: Page, tmp_path: Path) -> None:
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } })")
    page.goto(study.page.as_uri())
    assert "does not let the page keep your answers" in page.locator("#warning").text_content()
    page.select_option("#participant", "1")
    page.check("#consent")
    page.locator("#go").press("Enter")
    for number in range(1, 13):
        answer(page, number, "3")
    page.wait_for_selector("#done:not([hidden])")
    session = read_session(download(page, "#export", tmp_path), study.design)
    assert {answer.choice for answer in session.answers.values()} == {"right"}
    assert isinstance(session.answers[1], Answer)


@pytest.mark.parametrize(
    "page",
    [
        {"viewport": {"width": 400, "height": 800}, "color_scheme": "light"},
        {"viewport": {"width": 400, "height": 800}, "color_scheme": "dark"},
        {"viewport": {"width": 1280, "height": 720}, "color_scheme": "dark"},
    ],
    indirect=True,
)
def test_everything_that_an_answer_needs_fits_on_the_screen(study: Study, page: Page) -> None:
    page.goto(study.page.as_uri())
    width, height = page.viewport_size["width"], page.viewport_size["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    begin(page, study, 1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = {
        name: page.locator(name).bounding_box()
        for name in ("#instruction", "#source", "#left", "#right", "[data-choice=left]", "[data-choice=right]")
    }
    for name, box in boxes.items():
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, name
        assert box["y"] >= 0 and box["y"] + box["height"] <= height, name
    assert boxes["#left"]["width"] == pytest.approx(boxes["#right"]["width"], abs=1)
    assert boxes["#left"]["width"] >= 170
    assert boxes["#left"]["x"] + boxes["#left"]["width"] <= boxes["#right"]["x"]
    assert min(boxes[name]["height"] for name in ("[data-choice=left]", "[data-choice=right]")) >= 44
