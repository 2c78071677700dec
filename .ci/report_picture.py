"""Take the picture of the report that README and docs show.

    python -m spacy project run all
    python .ci/report_picture.py metrics/half_frozen-report.html docs/assets/report.png

Needs Chromium and Pillow (which the extra `report` brings). Of the page it keeps the headline, the scores by label, the
confusion matrix and the reliability diagram; not the speed, which is that of a machine of that day.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT, SCALE = 1000, 1600, 1.6
COLORS = 96
STYLE = """<style>
nav, footer, .theme, .skip, .tools, .texts, .more, .said, .slider, .parts, h3, section > p, section > ul,
section:not(:first-of-type), section > .narrow:not(:has(.matrix)), .charts figure:nth-child(n+2), thead button::after,
.cards > div:last-child, .sortable tr > :last-child { display: none !important; }
html, body { overflow: hidden; }
header { padding-top: 1.1rem; padding-bottom: 0; }
section { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0 1rem; align-items: stretch; }
section > * { grid-column: 1 / -1; }
h2 { margin-bottom: 0 !important; padding-top: .5rem !important; }
section > .narrow { grid-column: 1; align-self: start; margin-top: .25rem; }
.charts { grid-column: 2; margin: .25rem 0 .75rem; }
.charts figure { display: grid; align-content: space-around; }
.sortable th, .sortable td { padding-top: .22rem; padding-bottom: .22rem; }
</style></head>"""


def main() -> None:
    """Write the picture, cut at the end of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("No Chromium here: install the package chromium.")
    with tempfile.TemporaryDirectory() as name:
        page, taken = Path(name) / "page.html", Path(name) / "taken.png"
        page.write_text(args.page.read_text("utf-8").replace("</head>", STYLE, 1), "utf-8")
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={name}/user", f"--force-device-scale-factor={SCALE}",
             f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={taken}", page.as_uri()],
            check=True, capture_output=True, timeout=100,
        )  # fmt: skip
        picture = Image.open(taken).convert("RGB")
    # What the page does not fill is of one color.
    paper = Image.new("RGB", picture.size, picture.getpixel((0, picture.height - 1)))
    bottom = next(y for y in range(picture.height - 1, 0, -1) if picture.crop((0, y, picture.width, y + 1)).tobytes()
                  != paper.crop((0, y, picture.width, y + 1)).tobytes())  # fmt: skip
    cut = picture.crop((0, 0, picture.width, min(picture.height, bottom + round(16 * SCALE))))
    cut.quantize(COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(args.picture, optimize=True)
    print(f"{args.picture}: {cut.width} x {cut.height}, {args.picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
