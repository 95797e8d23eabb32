"""One edit in several wordings, for the question how much the wording decides."""

from __future__ import annotations

import json
import random
from dataclasses import replace

from editfrontier.base.errors import UserError
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case
from editfrontier.data.language import Language, instructions, portrait_caption

WORDINGS = 5
_DRAWS = 200


def worded_cases(case: Case, lang: Language, wordings: int = WORDINGS) -> list[Case]:
    """Return an attribute edit once for each wording of its instruction and of its target caption.

    The first wording is the canonical one. All of them share their noise, so that outputs of two wordings differ by the
    words alone; the source caption, which no wording changes, is the canonical one.

    Args:
        case: an edit of a portrait, with its attributes.
        lang: the language.
        wordings: how many, at least 1.

    Returns:
        Cases "<id>-w<number>" of the cluster of `case`, with the design {"wording": number, "noise": id of `case`}.

    Raises:
        UserError: the language has fewer wordings of the instruction, or of the caption.
    """
    texts = instructions(lang, case.attribute, case.desired)
    if not 1 <= wordings <= len(texts):
        direction = "add" if case.desired else "remove"
        raise UserError(
            f"option 'wordings': {wordings}, expected 1 to {len(texts)}, the instructions that the language has for "
            f"portraits.attributes.{case.attribute}.{direction}. Lower it, or add paraphrases."
        )
    captions = _captions(case, lang, wordings)
    return [
        replace(
            case,
            case_id=f"{case.case_id}-w{number}",
            instruction=texts[number],
            instruction_origin="template",
            target_caption=captions[number],
            cluster=case.cluster,
            design=json.dumps({"wording": number, "noise": case.case_id}, separators=(",", ":")),
        )
        for number in range(wordings)
    ]


def _captions(case: Case, lang: Language, wordings: int) -> list[str]:
    """Different captions of the case's target, the canonical one first."""
    attributes = json.loads(case.target_attributes)
    found = [portrait_caption(lang, attributes)]
    rng = random.Random(stable_seed("wordings", case.case_id))
    for _ in range(_DRAWS):
        if len(found) == wordings:
            return found
        drawn = portrait_caption(lang, attributes, rng)
        if drawn not in found:
            found.append(drawn)
    if len(found) == wordings:
        return found
    raise UserError(
        f"case {case.case_id}: the language has {len(found)} captions of its target, expected {wordings}. Lower the "
        "option 'wordings', or add paraphrases to the language."
    )
