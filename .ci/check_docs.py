"""The README is true: the project's commands are up to date, every name it uses exists, its Python blocks run.

Run in the repository root, with the package installed.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

README = Path("README.md")


def main() -> int:
    """RETURNS (int): Number of things that are wrong; each is printed."""
    wrong = [*commands(), *names(), *files(), *changelog()]
    for line in wrong:
        print(line)
    return len(wrong)


def commands() -> list[str]:
    """`weasel document` changes nothing."""
    before = README.read_text("utf-8")
    try:
        subprocess.run([sys.executable, "-m", "weasel", "document", "--output", str(README)], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        after = README.read_text("utf-8")
    finally:
        README.write_text(before, "utf-8")
    return [] if before == after else ["README: the project's commands are old: python -m weasel document -o README.md"]


def names() -> list[str]:
    """Every registered name in README and configs is in the entry-point table, and every one in the table in README."""
    table = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    registered = {name for group in table.values() for name in group if "." in name}
    text = README.read_text("utf-8")
    used = set(re.findall(r"spacy-transfer\.\w+\.v\d+", text))
    for config in Path("configs").glob("*.cfg"):
        used |= set(re.findall(r"spacy-transfer\.\w+\.v\d+", config.read_text("utf-8")))
    wrong = [f"used but not registered: {name}" for name in sorted(used - registered)]
    return wrong + [f"README does not mention {name}" for name in sorted(registered) if name not in text]


def files() -> list[str]:
    """Files that README names are there."""
    named = re.findall(r"`((?:configs|benchmarks|assets|\.ci)/[\w./-]+)`", README.read_text("utf-8"))
    made = ("assets/encoder", "assets/banking77")
    return [
        f"README names {name}, which is not there"
        for name in named
        if not name.startswith(made) and not Path(name).exists()
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
