"""What the self-contained pages share: templates, fonts as data, data and scripts that a page can hold safely."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from editfrontier.base.places import REPORTS


def render_page(
    template: str,
    style: str,
    script: str,
    context: Mapping[str, Any],
    data: Any,
    filters: Mapping[str, Callable[..., str]] | None = None,
) -> str:
    """Return a page as HTML; every text of the context is escaped, and only the page's own script may run.

    Args:
        template: file in reports/templates. It finds `style`, `script`, `script_hash`, `fonts` and `data` beside the
            context.
        style, script: files in reports.
        context: what else the template needs.
        data: JSON value for the page's script.
        filters: further filters of the template.
    """
    code = (REPORTS / script).read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(REPORTS / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters or {}
    return environment.get_template(template).render(
        context,
        data=Markup(embed_json(data)),
        fonts=Markup(font_faces()),
        script=Markup(code),
        style=Markup((REPORTS / style).read_text(encoding="utf-8")),
        script_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
    )


def font_faces() -> str:
    """Return CSS that defines the pages' typeface, with the files in it."""
    faces = []
    for name, weight in (("sans-Regular", 400), ("sans-SemiBold", 600)):
        content = base64.b64encode((REPORTS / "fonts" / f"{name}.woff2").read_bytes()).decode()
        faces.append(
            f"@font-face{{font-family:'Report Sans';font-weight:{weight};font-display:block;"
            f"src:url(data:font/woff2;base64,{content}) format('woff2')}}\n"
        )
    return "".join(faces)


def embed_json(value: Any) -> str:
    """Return JSON that can stand in a script element: no character of it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
