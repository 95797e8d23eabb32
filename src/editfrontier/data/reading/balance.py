"""Cases balanced over their requests: each image once, the rarest request no later than the others."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

Request = TypeVar("Request", bound=Hashable)
Result = TypeVar("Result")


def balanced(
    candidates: Mapping[Request, Sequence[str]], n: int, make: Callable[[str, Request], Result | None]
) -> Iterator[tuple[str, Request, Result]]:
    """Yield up to `n` pairs of an image and a request, in rounds over the requests.

    Args:
        candidates: request -> images that suit it, the first choice first; rounds follow the order of the mapping.
        n: number of pairs.
        make: (image, request) -> the result of the pair, None if it is not possible; called only for pairs that are
            about to be yielded, because it may read files.

    Yields:
        (image, request, result of `make`). No image is repeated. Counts of requests differ by at most one until a
        request has no image left. A larger `n` starts with the same pairs.
    """
    places = {request: iter(images) for request, images in candidates.items()}
    used: set[str] = set()
    count = 0
    while places:
        for request in list(places):
            if count == n:
                return
            for image in places[request]:
                if image in used:
                    continue
                result = make(image, request)
                if result is not None:
                    used.add(image)
                    count += 1
                    yield image, request, result
                    break
            else:
                del places[request]
