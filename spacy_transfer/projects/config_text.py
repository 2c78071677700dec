"""Writes the config of a project, with a comment at each choice."""

import json
import re
from collections.abc import Mapping

from .encoder_facts import EncoderFacts
from .recipes import Recipe

# As many updates between two looks at dev, at most.
_MOST_UPDATES = 200
_COMPONENTS = {True: "transfer_textcat", False: "transfer_textcat_multilabel"}

_TEMPLATE = """\
# A config of spacy-transfer, written by `python -m spacy transfer init`; README.md has the reasons.
# Trained: {what}.
# Run:     python -m spacy transfer train config.cfg --output training
# Only what differs from the defaults is here; `python -m spacy init fill-config` writes the rest out.

[paths]
# `python -m spacy project run convert` makes them of data/.
train = "corpus/train.spacy"
{dev}
labels = "corpus/labels.json"
{encoder}

[nlp]
lang = {lang}
pipeline = ["{name}"]

[components]

[components.{name}]
# {form}
factory = "{name}"

[components.{name}.model]

[components.{name}.model.encoder]
name = ${{paths.encoder}}

# Longer texts are read in overlapping windows.
[components.{name}.model.windows]
# {why_window}.
length = {window}
stride = "auto"
{model}
[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${{paths.train}}

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${{paths.dev}}

[training]
seed = {seed}
gpu_allocator = "pytorch"
{length}
{evaluation}
# Of the head; the encoder has its own.
dropout = {dropout}

[training.logger]
@loggers = "spacy.ConsoleLogger.v3"
progress_bar = "train"

[training.batcher]
@batchers = "spacy-transfer.batch_by_pieces.v1"
# Texts in a batch; those of similar length come together.
docs = {docs}
{batcher}
[training.optimizer]
@optimizers = "spacy-transfer.AdamW.v1"
{rate}
[initialize]

[initialize.components]

[initialize.components.{name}]

[initialize.components.{name}.labels]
@readers = "spacy.read_labels.v1"
path = ${{paths.labels}}
"""

_EPOCHS = """\
# The length, in passes over the training texts.
max_epochs = {n_epochs}
max_steps = 0"""
_NO_LENGTH = """\
# The head is solved before the first step; the loop changes nothing.
max_steps = 1"""
_BATCHER = """\
buffer = 16

[training.batcher.get_length]
@misc = "spacy-transfer.piece_length.v1"
name = ${paths.encoder}
"""
# How many training texts a text of a label counts for.
_LABEL_TEXTS = """
# What the labels are called, as further texts of them.
[model.label_texts]
@misc = "spacy-transfer.LabelTexts.v1"
weight = {weight}
"""
_WEIGHT = 1.0
_LOSSES = {True: "spacy-transfer.CrossEntropy.v1", False: "spacy-transfer.BinaryCrossEntropy.v1"}
_RATE = """
[training.optimizer.learn_rate]
@schedules = "spacy-transfer.WarmupLinear.v1"
# It rises over the first {warmup:.0%} of the steps, then falls to 0.
peak = {peak}
warmup = {warmup}
"""


_DEV = {
    True: 'dev = "corpus/dev.spacy"',
    False: "# No texts are kept for dev: the training shows its score on texts that it has seen.\n"
    'dev = "corpus/train.spacy"',
}  # fmt: skip
_KEPT = {
    True: "# No early stop: the best weights on dev are kept as training/model-best.",
    False: "# Nothing is chosen on dev: the last weights are taken, training/model-last.",
}


def _evaluation(recipe: Recipe, n_updates: int, n_epochs: int, *, has_dev: bool) -> str:
    every = min(n_updates, _MOST_UPDATES) if has_dev else n_updates * n_epochs
    return f"{_KEPT[has_dev]}\npatience = 0\neval_frequency = {every if recipe.trains else 1}"


def component_name(*, exclusive: bool) -> str:
    """Name the component, and its factory.

    exclusive (bool): Whether each text has exactly one label.
    RETURNS (str): Such as "transfer_textcat".
    """
    return _COMPONENTS[exclusive]


def write_config(
    recipe: Recipe, *, exclusive: bool, lang: str, encoder: EncoderFacts, n_texts: int, n_epochs: int, seed: int,
    label_texts: Mapping[str, str | list[str]] | None = None, has_dev: bool = True,
) -> str:  # fmt: skip
    """Write the config of a recipe.

    recipe (Recipe): What is trained.
    exclusive (bool): Whether each text has exactly one label.
    lang (str): Language of the tokenizer.
    encoder (EncoderFacts): The encoder.
    n_texts (int): Training texts.
    n_epochs (int): Passes over them; not used where the loop trains nothing.
    seed (int): Of the training.
    label_texts (Mapping[str, str | list[str]] | None): Texts of labels to learn from, for those whose names say less;
        None leaves out the names as well.
    has_dev (bool): Whether there are dev texts to choose the best weights on.
    RETURNS (str): A whole config with comments.
    """
    name = _COMPONENTS[exclusive]
    model = recipe.model.replace("{half}", str(encoder.n_layers // 2)).replace("{loss}", _LOSSES[exclusive])
    if label_texts is not None:
        model += _LABEL_TEXTS.format(weight=_WEIGHT)
        model += f"texts = {_quoted(dict(label_texts))}\n" if label_texts else ""
    n_updates = -(-n_texts // recipe.docs)
    return _TEMPLATE.format(
        what=recipe.what, name=name, lang=json.dumps(lang), seed=seed, docs=recipe.docs, dropout=recipe.dropout,
        encoder=f"encoder = {_quoted(encoder.name)}",
        form="Exactly one label per text." if exclusive else "Any number of labels per text.",
        why_window=encoder.why_window[0].upper() + encoder.why_window[1:], window=encoder.window,
        model=re.sub(r"^\[model\b", f"[components.{name}.model", model, flags=re.MULTILINE),
        length=_EPOCHS.format(n_epochs=n_epochs) if recipe.trains else _NO_LENGTH,
        dev=_DEV[has_dev], evaluation=_evaluation(recipe, n_updates, n_epochs, has_dev=has_dev),
        batcher=_BATCHER if recipe.trains else "",
        rate=_RATE.format(peak=_number(recipe.peak), warmup=recipe.warmup) if recipe.trains else "learn_rate = 0.0\n",
    )  # fmt: skip


def _quoted(value: object) -> str:
    """A str, or an object of them, as a config has it: "$" begins a variable there, and is doubled."""
    return json.dumps(value, ensure_ascii=False).replace("$", "$$")


def _number(value: float) -> str:
    """1e-4 and not 0.0001."""
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"
