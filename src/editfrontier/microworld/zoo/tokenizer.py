"""A tiny byte-pair tokenizer in CLIP's format, over the words of the language file.

Every word of the language becomes one token; another word splits into sub-words and letters. The two special tokens are
last in the vocabulary, as in CLIP, so that `CLIPTextModel` finds the end token by its id or as the largest id.
"""

from __future__ import annotations

import itertools
import json
import re
import string
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.base.yaml_files import read_yaml

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

START, END, SUFFIX = "<|startoftext|>", "<|endoftext|>", "</w>"
_ALPHABET = string.ascii_lowercase + string.digits + string.punctuation
# CLIP's own split of a text into words (the pattern of transformers' CLIPTokenizer): letters, single digits, the rest.
_WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")


def language_words(path: Path) -> list[str]:
    """Return all words in the texts of a language file, sorted; slots such as {colour} are left out."""

    def leaves(node: Any) -> Iterable[str]:
        if isinstance(node, dict):
            for value in node.values():
                yield from leaves(value)
        elif isinstance(node, list):
            for value in node:
                yield from leaves(value)
        elif isinstance(node, str):
            yield node

    texts = leaves(read_yaml(path, "language file"))
    return sorted({word for text in texts for word in _WORD.findall(re.sub(r"\{\w+\}", " ", text.lower()))})


def learn_merges(words: Iterable[str], limit: int) -> list[tuple[str, str]]:
    """Return byte-pair merges (Sennrich et al., 2016) over distinct words, most frequent first, ties by alphabet.

    They end when every word is one token, or after `limit` merges.
    """
    pieces = [[*word[:-1], word[-1] + SUFFIX] for word in sorted(set(words))]
    merges: list[tuple[str, str]] = []
    while len(merges) < limit:
        counts: dict[tuple[str, str], int] = {}
        for parts in pieces:
            for pair in itertools.pairwise(parts):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for parts in pieces:
            index = 0
            while index < len(parts) - 1:
                if (parts[index], parts[index + 1]) == best:
                    parts[index : index + 2] = [parts[index] + parts[index + 1]]
                index += 1
    return merges


def build_tokenizer(words: Iterable[str], max_length: int, limit: int = 1300) -> CLIPTokenizer:
    """Train the tokenizer. max_length: tokens of a text with its start and end token (longer texts are cut)."""
    from transformers import CLIPTokenizer

    merges = learn_merges(words, limit)
    symbols = [*_ALPHABET, *(letter + SUFFIX for letter in _ALPHABET), *("".join(pair) for pair in merges)]
    vocabulary = {symbol: index for index, symbol in enumerate(dict.fromkeys(symbols))}
    for special in (START, END):
        vocabulary[special] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=max_length)


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write vocab.json, merges.txt, tokenizer.json, tokenizer_config.json and special_tokens_map.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(folder))
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(pairs) + "\n", encoding="utf-8")
    specials = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2), encoding="utf-8")
