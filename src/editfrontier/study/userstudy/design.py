"""Who judges what: a balanced, seeded design of pairs of edits. Numbers only; `materials` turns them into images.

A comparison is two editors on one case; an item is a comparison that is in the study; a judgement is an item that one
participant is shown.

- Every pair of editors has the same number of items (to within one), and so has every case, unless images are missing.
- Every item is judged by the same number of participants (the last one by the rest), and every participant judges the
  same number of items, of each editor and of each pair of editors about equally many.
- Every pair of editors, and every editor, stands as often on the left as on the right, within one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError

Ints = npt.NDArray[np.intp]

_EXCHANGES = 30
"""Tried exchanges for each judgement; at 20 participants and 100 pairs more of them change nothing that matters."""


@dataclass(frozen=True)
class Judgements:
    """Every judgement: participant [J], item [J], and whether the first editor of the pair is on the left [J]."""

    participant: Ints
    item: Ints
    first_left: npt.NDArray[np.bool_]


def editor_pairs(editors: int) -> list[tuple[int, int]]:
    """Return all pairs of editors, each once, as indices in ascending order."""
    return list(itertools.combinations(range(editors), 2))


def choose_items(available: npt.NDArray[np.bool_], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Choose comparisons so that every pair of editors and every case has equally many, within one.

    Comparisons are taken along the diagonals of the grid of pairs and cases, each in a random order, which balances
    both. Where an image is missing, the comparison comes next whose pair, then whose case, has the fewest so far.

    Args:
        available: [P,C], whether the images of both editors of a pair are there, for every case.

    Returns:
        (pair, case) of each.

    Raises:
        UserError: there are fewer comparisons than `count`.
    """
    if count > available.sum():
        raise UserError(
            f"user_study: the design needs {count} different comparisons, but the edits give {int(available.sum())}. "
            "Lower 'pairs' or 'participants', or raise 'raters', in the config's section 'user_study'."
        )
    pairs, cases = available.shape
    by_pair, by_case = rng.permutation(pairs), rng.permutation(cases)
    period = int(np.lcm(pairs, cases))
    steps = np.arange(pairs * cases)
    pair, case = by_pair[steps % pairs], by_case[(steps + steps // period) % cases]
    left = available[pair, case]
    of_pair, of_case = np.zeros(pairs, dtype=np.intp), np.zeros(cases, dtype=np.intp)
    chosen = []
    for _ in range(count):
        index = np.flatnonzero(left)
        # Lexicographic; the place along the diagonals comes last, as `argmin` takes the first of equals.
        best = index[np.argmin(of_pair[pair[index]] * (count + 1) + of_case[case[index]])]
        left[best] = False
        of_pair[pair[best]] += 1
        of_case[case[best]] += 1
        chosen.append((int(pair[best]), int(case[best])))
    return chosen


def assign(
    items: Sequence[tuple[int, int]], editors: int, participants: int, load: int, raters: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Share items out to participants.

    Each item goes to `raters` of those who have the fewest items so far. Then participants exchange items, two at
    random at a time, where that makes what each of them sees of editors, pairs of editors and cases more even.

    Args:
        items: (pair, case) of each, as many as `participants * load / raters`, rounded up.
        load: items that each participant judges.
        raters: participants that judge each item, at most `participants`; the last item gets the rest.

    Returns:
        Participant [J] and item [J] of every judgement, J = participants * load.
    """
    pairs, cases = editor_pairs(editors), 1 + max(case for _, case in items)
    given = np.zeros(participants, dtype=np.intp)
    who: list[int] = []
    what: list[int] = []
    for number in range(len(items)):
        wanted = min(raters, participants * load - len(who))
        chosen = np.lexsort((rng.random(participants), given))[:wanted]
        given[chosen] += 1
        who += chosen.tolist()
        what += [number] * wanted

    # What an item adds to: its two editors, its pair of editors, its case, as positions in one list of counts.
    adds = [(*pairs[pair], editors + pair, editors + len(pairs) + case) for pair, case in items]
    seen = [[0] * (editors + len(pairs) + cases) for _ in range(participants)]
    has = [set[int]() for _ in range(participants)]
    for person, number in zip(who, what, strict=True):
        has[person].add(number)
        for place in adds[number]:
            seen[person][place] += 1
    for x, y in rng.integers(len(who), size=(_EXCHANGES * len(who), 2)).tolist():
        p, q, i, j = who[x], who[y], what[x], what[y]
        if p == q or i == j or j in has[p] or i in has[q]:
            continue
        gone, come = set(adds[i]) - set(adds[j]), set(adds[j]) - set(adds[i])
        # Half of what the sum of squares of the counts falls by.
        gain = sum(seen[p][k] - seen[q][k] - 1 for k in gone) + sum(seen[q][k] - seen[p][k] - 1 for k in come)
        if gain > 0:
            who[x], who[y] = q, p
            has[p] = has[p] - {i} | {j}
            has[q] = has[q] - {j} | {i}
            for k in gone:
                seen[p][k], seen[q][k] = seen[p][k] - 1, seen[q][k] + 1
            for k in come:
                seen[p][k], seen[q][k] = seen[p][k] + 1, seen[q][k] - 1
    return np.array(who, dtype=np.intp), np.array(what, dtype=np.intp)


def choose_sides(
    participant: Ints, item: Ints, pair_of_item: Ints, editors: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Choose for every judgement whether the first editor of its pair stands on the left.

    Judgements of one pair of editors form couples with opposite sides, judgements of one item first. A pair with an odd
    number leaves one over; these are turned so that every editor is as often left as right, within one. Which of a
    couple has which side is chosen so that every participant, too, sees each editor about as often on either side.

    Args:
        participant, item: [J], of every judgement.
        pair_of_item: pair of editors of each item.

    Returns:
        [J].
    """
    pairs = editor_pairs(editors)
    first_left = np.zeros(len(item), dtype=bool)
    couples: list[tuple[int, int]] = []
    single: dict[int, int] = {}
    for pair in range(len(pairs)):
        mine = np.flatnonzero(pair_of_item[item] == pair)
        mine = mine[np.lexsort((rng.random(len(mine)), item[mine]))]
        couples += [(int(x), int(y)) for x, y in zip(mine[0::2], mine[1::2], strict=False)]
        if len(mine) % 2:
            single[pair] = int(mine[-1])
    excess = np.zeros((1 + int(participant.max()), editors), dtype=np.intp)  # left minus right

    def place(judgement: int, left: bool) -> None:
        a, b = pairs[pair_of_item[item[judgement]]]
        first_left[judgement] = left
        sign = 1 if left else -1
        excess[participant[judgement], a] += sign
        excess[participant[judgement], b] -= sign

    for edge, forwards in _orient([pairs[pair] for pair in single], editors, rng):
        place(single[pairs.index(edge)], forwards)
    for index in rng.permutation(len(couples)):
        x, y = couples[index]

        def cost(judgement: int, left: bool) -> int:
            a, b = pairs[pair_of_item[item[judgement]]]
            tilt = excess[participant[judgement], a] - excess[participant[judgement], b]
            return int(tilt if left else -tilt)

        straight, turned = cost(x, True) + cost(y, False), cost(x, False) + cost(y, True)
        left = bool(rng.random() < 0.5) if straight == turned else straight < turned
        place(x, left)
        place(y, not left)
    return first_left


def _orient(
    edges: Sequence[tuple[int, int]], vertices: int, rng: np.random.Generator
) -> list[tuple[tuple[int, int], bool]]:
    """Give every edge of a graph a direction so that in and out of every vertex are equal within one.

    Walks along unused edges until stuck, from vertices of odd degree first: a walk only ends there or where it began.

    Returns:
        Each edge with whether it runs from its first to its second vertex.
    """
    unused = {int(index): edges[index] for index in rng.permutation(len(edges))}
    directed = []
    while unused:
        degree = np.bincount(np.array(list(unused.values())).ravel(), minlength=vertices)
        odd = np.flatnonzero(degree % 2)
        at = int(odd[0]) if len(odd) else int(np.flatnonzero(degree)[0])
        while (index := next((i for i, edge in unused.items() if at in edge), None)) is not None:
            edge = unused.pop(index)
            directed.append((edge, edge[0] == at))
            at = edge[1] if edge[0] == at else edge[0]
    return directed


def make_judgements(
    items: Sequence[tuple[int, int]], editors: int, participants: int, load: int, raters: int, rng: np.random.Generator
) -> Judgements:
    """Share items out to participants (`assign`) and choose the sides (`choose_sides`)."""
    participant, item = assign(items, editors, participants, load, raters, rng)
    pair_of_item = np.array([pair for pair, _ in items], dtype=np.intp)
    return Judgements(participant, item, choose_sides(participant, item, pair_of_item, editors, rng))


def trial_order(pairs: int, catch_trials: int, repeats: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Return the order of one participant's trials.

    Catch trials are spread over the session, one at a random place of each of as many equal parts. Repeats stand in the
    last quarter and show trials of the first half again.

    Args:
        pairs: judged pairs, which come in a random order.
        catch_trials, repeats: numbers of those; repeats at most half of the pairs.

    Returns:
        (kind, index): ("pair", i-th pair of the participant), ("catch", i-th catch trial), ("repeat", i-th pair again).
    """
    order = rng.permutation(pairs)
    placed = [((place + 0.5) / pairs, "pair", int(index)) for place, index in enumerate(order)]
    placed += [((k + rng.random()) / catch_trials, "catch", k) for k in range(catch_trials)]
    again = rng.choice(order[: pairs // 2], size=repeats, replace=False).tolist() if repeats else []
    placed += [(0.75 + 0.25 * (k + rng.random()) / repeats, "repeat", index) for k, index in enumerate(again)]
    return [(kind, index) for _, kind, index in sorted(placed)]
