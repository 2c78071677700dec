"""Write docs/cli.md from the commands and docs/api.md from the entry points and the package's `__all__`.

    python .ci/write_reference.py

Run it in the repository root, with the package installed, after a command, option or block was added. `check_docs.py`
compares the files with what this would write.
"""

import importlib
import inspect
import sys
import tomllib
from pathlib import Path
from typing import Any

CLI, API = Path("docs/cli.md"), Path("docs/api.md")

_CLI_HEAD = """# Command line

<!-- Written by .ci/write_reference.py: change the commands' help texts, not this page. -->

All commands are subcommands of `python -m spacy transfer`. `--help` after any of them shows the same as this page.
Errors are one line with a code, and the exit status is then 1.
"""

_API_HEAD = """# Python API

<!-- Written by .ci/write_reference.py: change the docstrings, not this page. -->

This page is generated from docstrings and complete on the built site; on a code host it shows the names only.
"""

# What is in the entry-point table, in the order of the configuration reference: heading, group, names of which kind.
_KINDS = (
    ("Encoders", ("Encoder", "WordLevel", "BPE", "Unigram", "CharNGrams")),
    ("Tuning", ("Tuning", "LoRA", "IA3")),
    ("Pooling and head", ("Pooling", "Head", "RandomInit", "LinearProbe", "LabelTexts")),
    ("Features", ("Features", "StaticVectors")),
    ("Losses", ()),
    ("Data", ("Text", "Normalization", "Windows", "Augmentation", "Cache", "Corpus", "PieceRows", "piece_length")),
    ("Training", ("batch_by_pieces", "AdamW", "WarmupLinear", "set_epoch", "accept_soft_labels", "scorer")),
    ("Architectures", ("Classifier", "MaskedLM")),
)


def cli_reference() -> str:
    """The page of the commands."""
    from typer.main import get_command

    from spacy_transfer.cli import transfer_cli

    group = get_command(transfer_cli)
    parts = [_CLI_HEAD]
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
        usage = " ".join(_metavar(one) for one in arguments)
        parts.append(f"## {name}\n\n```text\npython -m spacy transfer {name} {usage} [OPTIONS]\n```\n")
        parts.append(_paragraphs(command.help or "") + "\n")
        for title, rows in (
            ("argument", [(f"`{_metavar(one)}`", one) for one in arguments]),
            ("option", [(_flags(one), one) for one in options]),
        ):
            if rows:
                lines = [f"| {title} | default | what it is |", "|---|---|---|"]
                lines += [f"| {shown} | {_default(one)} | {_cell(one.help or '')} |" for shown, one in rows]
                parts.append("\n".join(lines) + "\n")
        if command.context_settings.get("ignore_unknown_options"):
            parts.append("Values of the config can be replaced by options: `--training.max_steps 500`.\n")
    return "\n".join(parts)


def api_reference() -> str:
    """The page of the Python API, for mkdocstrings."""
    table = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    targets = {name: target.replace(":", ".") for group in table.values() for name, target in group.items()}
    losses = {target.replace(":", ".") for target in table["thinc_losses"].values()}
    registered = {name.split(".")[1]: target for name, target in targets.items() if name.startswith("spacy-transfer.")}
    parts = [_API_HEAD]
    if functions := _public_functions(set(targets.values())):
        parts.append("## Functions and classes\n\nImport them from `spacy_transfer`.\n")
        parts += [_directive(target) for target in functions]
    parts.append("## Components\n")
    methods = ("predict", "vectors", "explain", "update", "initialize", "add_label", "get_loss", "set_epoch",
               "clear_cache", "merge_adapter", "labels", "label_data")  # fmt: skip
    component = _component()
    parts.append(_directive(component, [one for one in methods if hasattr(_resolve(component), one)]))
    left = dict(registered)
    for title, endings in _KINDS:
        chosen = [one for one in left if one.endswith(endings or ("\0",)) or (not endings and left[one] in losses)]
        parts.append(f"## {title}\n")
        parts += [_directive(left.pop(one)) for one in sorted(chosen)]
    if left:
        raise SystemExit(f"write_reference.py: no section of docs/api.md takes {sorted(left)}")
    return "\n".join(parts)


def _public_functions(blocks: set[str]) -> list[str]:
    """What `spacy_transfer.__all__` offers besides blocks, as dotted paths of where it is defined."""
    import spacy_transfer

    found = []
    for name in getattr(spacy_transfer, "__all__", ()):
        value = getattr(spacy_transfer, name)
        if (inspect.isfunction(value) or inspect.isclass(value)) and not name.startswith("_"):
            target = f"{value.__module__}.{value.__qualname__}"
            if target not in blocks:
                found.append(target)
    return sorted(found, key=lambda target: target.rpartition(".")[2].lower())


def _component() -> str:
    from spacy_transfer.pipeline import factories

    kind = inspect.signature(factories.make_transfer_textcat).return_annotation
    return f"{kind.__module__}.{kind.__qualname__}"


def _resolve(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _directive(target: str, members: list[str] | None = None) -> str:
    if not members:
        return f"::: {target}\n"
    lines = "".join(f"\n        - {one}" for one in members)
    return f"::: {target}\n    options:\n      members:{lines}\n"


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.nargs == 1 or "..." in name else f"{name}..."


def _flags(option: Any) -> str:
    flags = ", ".join(f"`{one}`" for one in sorted(option.opts, key=len, reverse=True))
    return flags + "".join(f" / `{one}`" for one in option.secondary_opts)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or callable(value):
        return ""
    if isinstance(value, bool):
        return "off" if not value else "on"
    return f"`{getattr(value, 'value', value)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _paragraphs(text: str) -> str:
    """Paragraphs of a help text, each on lines of at most 120 characters."""
    import textwrap

    # click marks a paragraph whose lines it must not join with \b.
    blocks = [" ".join(block.replace("\b", "").split()) for block in inspect.cleandoc(text).split("\n\n")]
    return "\n\n".join("\n".join(textwrap.wrap(block, 120, break_long_words=False)) for block in blocks)


def main() -> int:
    """Write both pages."""
    CLI.write_text(cli_reference(), "utf-8")
    API.write_text(api_reference(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
