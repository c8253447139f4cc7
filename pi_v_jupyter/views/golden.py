"""Golden images, as lines and tables: HTML for a notebook, text everywhere."""

from __future__ import annotations

from pi_v_jupyter import names
from pi_v_jupyter.golden import GoldenImage
from pi_v_jupyter.views.tables import age, html_table, text_table

HEAD = ("golden image", "")
STARTS = {True: "hot: pi runs in what is restored", False: "cold: pi is started in what is restored"}


def _rows(image: GoldenImage) -> list[tuple[str, str]]:
    commit = image.commit
    tools = ", ".join(f"{name} {version}" for name, version in image.tools.items())
    return [
        ("commit", "  ".join((commit.id[:8], *commit.tags))),
        ("made", f"{image.made_at:%Y-%m-%d %H:%M:%S} UTC, {age(image.made_at)} ago"),
        ("starts", STARTS[image.hot]),
        ("has", names.shown(tools)),
    ]


def golden_line(image: GoldenImage) -> str:
    """One in a line, such as "golden 3fa9c1d2  pi 0.87.1  node 22.23.3  hot"."""
    tools = image.tools
    shown = (f"{name} {tools[name]}" for name in ("pi", "node") if name in tools)
    parts = (image.commit.label, image.commit.id[:8], *shown, "hot" if image.hot else "cold")
    return names.shown("  ".join(parts))


def golden_text(image: GoldenImage) -> str:
    """All that is known of one, a line each."""
    return text_table(HEAD, _rows(image))


def golden_html(image: GoldenImage) -> str:
    """The same as a table."""
    return html_table(HEAD, _rows(image))
