"""One edit in several wordings, to measure how much the wording decides."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from editfrontier.base.errors import UserError
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, compact_json
from editfrontier.data.language import Language, instructions

WORDINGS = 5
_DRAWS = 200

Caption = Callable[[Language, Mapping[str, bool], random.Random | None], str]
"""(language, attributes, generator or None) -> a caption, the canonical one for None."""


def worded_cases(case: Case, lang: Language, wordings: int, caption: Caption) -> list[Case]:
    """Return an attribute edit once for each wording of its instruction and target caption, the canonical one first.

    All wordings share their noise, so that their outputs differ by the words alone.

    Args:
        case: an edit of a portrait, with its attributes.
        lang: the language.
        wordings: number of wordings, at least 1.
        caption: captions of the target attributes.

    Returns:
        Cases "<id>-w<number>" of the cluster of `case`, with the design {"wording": number, "noise": id of `case`}.

    Raises:
        UserError: the language has fewer wordings of the instruction or of the caption.
    """
    texts = instructions(lang, case.attribute, case.desired)
    values = json.loads(case.target_attributes)
    rng = random.Random(stable_seed("wordings", case.case_id))
    drawn = [caption(lang, values, None), *(caption(lang, values, rng) for _ in range(_DRAWS))]
    captions = list(dict.fromkeys(drawn))
    if wordings > min(len(texts), len(captions)):
        direction = "add" if case.desired else "remove"
        raise UserError(
            f"option 'wordings': {wordings}, but case {case.case_id} has {len(texts)} instructions "
            f"(portraits.attributes.{case.attribute}.{direction} of the language) and {len(captions)} captions. "
            "Lower it, or add paraphrases."
        )
    return [
        replace(
            case,
            case_id=f"{case.case_id}-w{number}",
            instruction=texts[number],
            instruction_origin="template",
            target_caption=captions[number],
            design=compact_json({"wording": number, "noise": case.case_id}),
        )
        for number in range(wordings)
    ]
