"""The recipes that a project can be made with: what is trained, how fast and how long."""

from dataclasses import dataclass
from typing import Literal

Form = Literal["exclusive", "multilabel", "both"]


@dataclass(frozen=True)
class Recipe:
    """A way to train, as lines of a config.

    name (str): As `--recipe` takes it; that of its file in configs/, where there is one.
    what (str): What is trained, for a comment.
    form (str): Whether it is for labels that exclude each other.
    model (str): Blocks below the component's model; {half} is the depth of the lower half of the encoder.
    peak (float): Of the learning rate; 0 where the loop trains nothing.
    warmup (float): Share of the steps in which the rate rises.
    dropout (float): Of the head.
    docs (int): Texts in a batch.
    n_steps (int): Updates that it takes on little data; 0 where the loop trains nothing.
    most_epochs (int): Passes over the texts at most.
    least_steps (int): Updates at least, however many passes that takes.
    extra (str): Of spacy-transfer, that brings what it needs.
    cost (float): How many times as long an update takes as one of the whole encoder.
    """

    name: str
    what: str
    form: Form
    model: str
    peak: float = 3e-4
    warmup: float = 0.1
    dropout: float = 0.1
    docs: int = 16
    n_steps: int = 370
    most_epochs: int = 20
    least_steps: int = 0
    extra: str = ""
    cost: float = 1.0

    @property
    def trains(self) -> bool:
        """Whether the loop trains anything, or the head is solved before it."""
        return self.peak > 0


_SMOOTHED = """
[model.loss]
label_smoothing = 0.1
"""
_PROBE = """
# The head begins as a logistic regression on the encoder's vectors; C is chosen by cross-validation.
[model.head_init]
@misc = "spacy-transfer.LinearProbe.v1"
"""

_EVERY = (
    Recipe(
        "half_frozen", "the upper half of the encoder and a new head; frozen layers are computed once", "exclusive",
        """
[model.tuning]
# Embeddings and the lower half of the layers keep their weights.
frozen_depth = {half}
# Each layer learns at 0.9 times the rate of the one above, the head at 5 times the rate of the top.
lr_decay = 0.9
head_lr_factor = 5.0
""" + _SMOOTHED,
    ),
    Recipe(
        "full", "the whole encoder and a new head", "exclusive",
        """
[model.tuning]
# Nothing is frozen; each layer learns at 0.8 times the rate of the one above, the head at 5 times that of the top.
frozen_depth = -1
lr_decay = 0.8
head_lr_factor = 5.0
""" + _SMOOTHED,
        peak=2e-4,
    ),
    Recipe(
        "frozen", "a new head alone, on the vectors of the encoder", "both",
        """
[model.tuning]
# The encoder keeps all weights; each text passes through it once.
frozen_depth = "all"
""",
        peak=1e-2, warmup=0.03, dropout=0.2, n_steps=1180,
    ),
    Recipe(
        "linear_probe", "a logistic regression on the vectors of the encoder, solved before the loop", "both",
        """
[model.tuning]
# The encoder keeps all weights; each text passes through it once.
frozen_depth = "all"
""" + _PROBE,
        peak=0.0, dropout=0.0, n_steps=0, most_epochs=0,
    ),
    Recipe(
        "probe_then_tune", "a logistic regression first, then the whole encoder and that head", "both",
        """
[model.tuning]
# Nothing is frozen: there are few texts, so an epoch costs little.
frozen_depth = -1
""" + _PROBE,
        peak=1e-4, n_steps=370, most_epochs=15, least_steps=45,
    ),
    Recipe(
        "few_contrastive", "a logistic regression first, then the encoder and that head; texts of one label are pulled "
        "together", "both",
        """
[model.tuning]
frozen_depth = -1
# The vectors move quickly, and the head has to follow them.
head_lr_factor = 20.0
""" + _PROBE + """
# In each step a text passes twice, with another dropout each time; texts of one label get like vectors. That counts for
# more than the scores, which soon are right for the few training texts.
[model.loss]
@losses = "spacy-transfer.SupervisedContrastive.v1"
weight = 5.0
temperature = 0.1
views = 2

[model.loss.loss]
@losses = "{loss}"
""",
        peak=1e-4, n_steps=370, most_epochs=15, least_steps=45, cost=2.0,
    ),
    Recipe(
        "lora", "low-rank adapters in the attention of each layer and a new head", "exclusive",
        """
[model.tuning]
frozen_depth = 0
head_lr_factor = 5.0

[model.tuning.adapter]
@misc = "spacy-transfer.LoRA.v1"
rank = 8
alpha = 16.0
targets = "auto"
# Adapters need about ten times the learning rate of other weights.
lr_factor = 10.0
""" + _SMOOTHED,
        extra="peft",
    ),
    Recipe(
        "contrastive", "the whole encoder and a new head; texts of one label are pulled together", "exclusive",
        """
[model.tuning]
frozen_depth = -1
lr_decay = 0.8
head_lr_factor = 5.0

# Two passes with different dropout must agree.
[model.loss]
@losses = "spacy-transfer.RDrop.v1"
alpha = 1.0

[model.loss.loss]
@losses = "spacy-transfer.SupervisedContrastive.v1"
weight = 0.5
temperature = 0.3

[model.loss.loss.loss]
@losses = "spacy-transfer.CrossEntropy.v1"
""",
    ),
    Recipe(
        "multilabel", "all layers above the embeddings and a new head; each label is a yes or no", "multilabel",
        """
[model.tuning]
frozen_depth = 0
lr_decay = 0.9
# Each label learns from few texts that have it, so the head needs long steps.
head_lr_factor = 20.0

[model.loss]
# Rare labels count as much as frequent ones.
class_weights = "balanced"
""",
        docs=8, n_steps=195,
    ),
)  # fmt: skip
RECIPES = {recipe.name: recipe for recipe in _EVERY}
