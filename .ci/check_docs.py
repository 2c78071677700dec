"""README and docs/ are true: names exist, blocks run, commands and configs are right, generated pages are up to date.

Run in the repository root, with the package installed.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from docs_examples import examples, links, pages, tables
from write_reference import API, CLI, api_reference, cli_reference

README, PROJECT = Path("README.md"), Path("docs/project.md")


def main() -> int:
    """RETURNS (int): Number of things that are wrong; each is printed."""
    wrong = [*commands(), *names(), *files(), *changelog(), *links(), *reference(), *tables(), *examples()]
    for line in wrong:
        print(line)
    return len(wrong)


def commands() -> list[str]:
    """`weasel document` changes nothing, wherever its section stands."""
    page = PROJECT if PROJECT.exists() else README
    before = page.read_text("utf-8")
    try:
        subprocess.run([sys.executable, "-m", "weasel", "document", "--output", str(page)], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        after = page.read_text("utf-8")
    finally:
        page.write_text(before, "utf-8")
    return [] if before == after else [f"{page}: the project's commands are old: python -m weasel document -o {page}"]


def names() -> list[str]:
    """Registered names in pages and configs are in the entry-point table, and those of the table are in docs/."""
    table = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    registered = {name for group in table.values() for name in group if "." in name}
    docs = "\n".join(page.read_text("utf-8") for page in pages() if page != README)
    used = set(re.findall(r"spacy-transfer\.\w+\.v\d+", docs + README.read_text("utf-8")))
    for config in Path("configs").glob("*.cfg"):
        used |= set(re.findall(r"spacy-transfer\.\w+\.v\d+", config.read_text("utf-8")))
    wrong = [f"used but not registered: {name}" for name in sorted(used - registered)]
    wrong += [f"docs/ does not mention {name}" for name in sorted(registered) if name not in docs]
    return [*wrong, *recipes()]


def recipes() -> Iterator[str]:
    """Every config has a recipe, which advises what its first lines do."""
    text = Path("docs/recipes.md").read_text("utf-8")
    for config in sorted(Path("configs").glob("*.cfg")):
        section = re.search(rf"^## {config.stem}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
        if section is None:
            yield f"docs/recipes.md has no section for {config}"
            continue
        for advice in re.findall(r"^# Try first: +(.+)$", config.read_text("utf-8"), re.M):
            if f"`{advice.strip()}`" not in section[1]:
                yield f"docs/recipes.md, {config.stem}: try first is {advice.strip()} in the config"


def files() -> list[str]:
    """Files that the pages name are there, in the repository or next to the pages (pictures)."""
    made = ("assets/encoder", "assets/image-encoder", "assets/audio-encoder", "assets/banking77")
    return [
        f"{page} names {name}, which is not there"
        for page in pages()
        for name in re.findall(r"\b((?:configs|benchmarks|assets|\.ci)/[\w./-]*\w)", page.read_text("utf-8"))
        if not name.startswith(made) and not Path(name).exists() and not Path("docs", name).exists()
    ]


def reference() -> list[str]:
    """The generated pages are what would be generated now."""
    return [
        f"{page} is old: python .ci/write_reference.py"
        for page, make in ((CLI, cli_reference), (API, api_reference))
        if page.read_text("utf-8") != make()
    ]


def changelog() -> list[str]:
    """The version has an entry."""
    version = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]["version"]
    return (
        []
        if f"## {version}" in Path("CHANGELOG.md").read_text("utf-8")
        else [f"CHANGELOG.md has no entry for {version}"]
    )


if __name__ == "__main__":
    sys.exit(main())
