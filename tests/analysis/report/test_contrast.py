"""Colors of the pages: text can be read on whatever is behind it, in light, in dark and on paper."""

import re
from pathlib import Path

import pytest

from spacy_transfer.analysis import explain, report

Color = tuple[float, float, float]
# WCAG 2.2, 1.4.3 and 1.4.11: text, and what has to be seen to use a page.
TEXT, PARTS = 4.5, 3.0
PAGES = {
    room.__name__.rpartition(".")[2]: (Path(str(room.__file__)).parent / "templates/page.css").read_text("utf-8")
    for room in (explain, report)
}
THEMES = [
    (page, number, dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block)))
    for page, css in PAGES.items()
    for number, block in enumerate(re.findall(r":root[^{]*\{([^}]*)\}", css))
]
# A color that is stronger the larger a share is.
MIXED = re.compile(r"color-mix\(in srgb, var\(--(\w+)\) calc\(var\(--share\) \* (\d+)%(?: \+ (\d+)%)?\), transparent\)")


def parsed(color: str) -> Color:
    digits = color[1:] if len(color) == 7 else "".join(2 * one for one in color[1:])
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def luminance(color: Color) -> float:
    red, green, blue = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(some: Color, other: Color) -> float:
    low, high = sorted((luminance(some), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_all_themes_are_looked_at() -> None:
    # Light, dark as the system is, and paper; the report also dark by choice.
    assert {page: sum(one == page for one, _, _ in THEMES) for page in PAGES} == {"explain": 3, "report": 4}


@pytest.mark.parametrize(("page", "number", "colors"), THEMES)
def test_text_can_be_read(page: str, number: int, colors: dict[str, str]) -> None:
    of = {name: parsed(color) for name, color in colors.items()}
    for name in of.keys() & {"ink", "muted", "accent", "wrong", "right"}:
        assert min(contrast(of[name], of[ground]) for ground in ("paper", "card")) >= TEXT, name
    for name in of:
        if name.startswith("series") or name in {"edge", "for", "against"}:
            assert contrast(of[name], of["card"]) >= PARTS, name


@pytest.mark.parametrize(("page", "number", "colors"), THEMES)
def test_text_can_be_read_on_the_strongest_color(page: str, number: int, colors: dict[str, str]) -> None:
    mixed = MIXED.findall(PAGES[page])
    assert mixed
    assert len(mixed) == PAGES[page].count("color-mix(")
    for name, most, least in mixed:
        share = (int(most) + int(least or 0)) / 100
        for side in ("for", "against") if name == "side" else (name,):
            color, card = parsed(colors[side]), parsed(colors["card"])
            red, green, blue = (share * one + (1 - share) * other for one, other in zip(color, card, strict=True))
            assert contrast((red, green, blue), parsed(colors["ink"])) >= TEXT, side
