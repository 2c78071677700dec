"""Transfer learning for text classification inside spaCy.

The functions below the commands, the config's blocks and the scikit-learn estimator can be imported from here. Each is
loaded at its first use, so `import spacy_transfer` stays as cheap as the standard library.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# What type checkers and editors see; a test compares it with the table below.
if TYPE_CHECKING:
    from .analysis.curve.curve import curve as curve
    from .analysis.doctor.doctor import doctor as doctor
    from .analysis.explain.explain import explain as explain
    from .analysis.report.report import report as report
    from .analysis.robustness.robustness import robustness as robustness
    from .analysis.suggest.suggest import suggest as suggest
    from .corpora.convert import convert as convert
    from .corpora.inspection.check import check as check
    from .corpora.noise.augment import augment as augment
    from .corpora.noise.augmentation import Augmentation as Augmentation
    from .corpora.reading.piece_rows import PieceRows as PieceRows
    from .estimator import TransferClassifier as TransferClassifier
    from .evaluation.evaluate import evaluate as evaluate
    from .model.cache.cache import EncoderCache as EncoderCache
    from .model.learning.augmentation import NoAugmentation as NoAugmentation
    from .model.learning.head_init import RandomInit as RandomInit
    from .model.learning.label_texts import LabelTexts as LabelTexts
    from .model.shared.attach import attach as attach
    from .model.shared.attach import detach as detach
    from .model.show import show as show
    from .model.text.normalization import Normalization as Normalization
    from .model.text.text import Text as Text
    from .model.text.windows import Windows as Windows
    from .nn.encoders.adapters import IA3 as IA3
    from .nn.encoders.adapters import LoRA as LoRA
    from .nn.encoders.pretrained import PretrainedEncoder as PretrainedEncoder
    from .nn.encoders.shared_encoder import SharedEncoder as SharedEncoder
    from .nn.heads.label_query import LabelQueryHead as LabelQueryHead
    from .nn.heads.linear import Head as Head
    from .nn.losses.asymmetric import Asymmetric as Asymmetric
    from .nn.losses.binary_cross_entropy import BinaryCrossEntropy as BinaryCrossEntropy
    from .nn.losses.contrastive import SupervisedContrastive as SupervisedContrastive
    from .nn.losses.cross_entropy import CrossEntropy as CrossEntropy
    from .nn.losses.focal import Focal as Focal
    from .nn.losses.mixup import Mixup as Mixup
    from .nn.losses.r_drop import RDrop as RDrop
    from .nn.losses.smooth_l1 import SmoothL1 as SmoothL1
    from .nn.losses.squared_error import SquaredError as SquaredError
    from .nn.losses.temperature import Temperature as Temperature
    from .nn.pooling import AttentionPooling as AttentionPooling
    from .nn.pooling import ClsPooling as ClsPooling
    from .nn.pooling import LastPooling as LastPooling
    from .nn.pooling import MaxPooling as MaxPooling
    from .nn.pooling import MeanPooling as MeanPooling
    from .nn.pooling import MixedPooling as MixedPooling
    from .nn.scratch.char_ngrams import CharNGrams as CharNGrams
    from .nn.scratch.encoder import ScratchEncoder as ScratchEncoder
    from .nn.scratch.tokenizer_training import BPE as BPE
    from .nn.scratch.tokenizer_training import Unigram as Unigram
    from .nn.scratch.tokenizer_training import WordLevel as WordLevel
    from .nn.sentence_pooling import AutoPooling as AutoPooling
    from .nn.static.encoder import StaticEncoder as StaticEncoder
    from .nn.tuning import Tuning as Tuning
    from .projects.few.choose import choose as choose
    from .projects.init import init as init
    from .projects.unlabeled.zero_shot import zero_shot as zero_shot
    from .repository.fetch import fetch as fetch
    from .serving.apply.apply import apply as apply
    from .serving.classify import classify as classify
    from .serving.export.export import export as export
    from .serving.importing.import_classifier import import_classifier as import_classifier
    from .serving.merge import merge as merge
    from .serving.model_card import card as card
    from .serving.service.app import make_app as make_app
    from .serving.service.limits import ServiceLimits as ServiceLimits
    from .serving.service.serve import serve as serve
    from .testing import check_block as check_block
    from .training.adamw import AdamW as AdamW
    from .training.calibration.calibrate import calibrate as calibrate
    from .training.distillation.distill import distill as distill
    from .training.distillation.plan import Distillation as Distillation
    from .training.distillation.teachers import Teacher as Teacher
    from .training.linear_probe import LinearProbe as LinearProbe
    from .training.loop.rates import WarmupLinear as WarmupLinear
    from .training.pretraining.adapt import adapt as adapt
    from .training.pretraining.pretrain import pretrain as pretrain
    from .training.search.study import Plan as Plan
    from .training.search.study import study as study
    from .training.train import train as train
    from .training.updating.self_train import SelfTraining as SelfTraining
    from .training.updating.self_train import self_train as self_train
    from .training.updating.update import Updating as Updating
    from .training.updating.update import update_pipeline as update_pipeline

# Module: the public names in it.
_HOMES: dict[str, tuple[str, ...]] = {
    # The functions below the commands.
    "projects.few.choose": ("choose",),
    "projects.init": ("init",),
    "projects.unlabeled.zero_shot": ("zero_shot",),
    "corpora.convert": ("convert",),
    "corpora.inspection.check": ("check",),
    "corpora.noise.augment": ("augment",),
    "repository.fetch": ("fetch",),
    "training.train": ("train",),
    "training.calibration.calibrate": ("calibrate",),
    "training.search.study": ("Plan", "study"),
    "training.pretraining.pretrain": ("pretrain",),
    "training.pretraining.adapt": ("adapt",),
    "training.distillation.distill": ("distill",),
    "training.distillation.plan": ("Distillation",),
    "training.distillation.teachers": ("Teacher",),
    "training.updating.update": ("Updating", "update_pipeline"),
    "training.updating.self_train": ("SelfTraining", "self_train"),
    "evaluation.evaluate": ("evaluate",),
    "analysis.doctor.doctor": ("doctor",),
    "analysis.explain.explain": ("explain",),
    "analysis.report.report": ("report",),
    "analysis.suggest.suggest": ("suggest",),
    "analysis.curve.curve": ("curve",),
    "analysis.robustness.robustness": ("robustness",),
    "serving.apply.apply": ("apply",),
    "serving.classify": ("classify",),
    "serving.export.export": ("export",),
    "serving.importing.import_classifier": ("import_classifier",),
    "serving.merge": ("merge",),
    "serving.model_card": ("card",),
    "serving.service.serve": ("serve",),
    "serving.service.app": ("make_app",),
    "serving.service.limits": ("ServiceLimits",),
    "model.show": ("show",),
    "model.shared.attach": ("attach", "detach"),
    # For scikit-learn, and for blocks of one's own.
    "estimator": ("TransferClassifier",),
    "testing": ("check_block",),
    # The config's blocks.
    "nn.encoders.pretrained": ("PretrainedEncoder",),
    "nn.scratch.encoder": ("ScratchEncoder",),
    "nn.static.encoder": ("StaticEncoder",),
    "nn.encoders.shared_encoder": ("SharedEncoder",),
    "nn.scratch.tokenizer_training": ("BPE", "Unigram", "WordLevel"),
    "nn.scratch.char_ngrams": ("CharNGrams",),
    "nn.tuning": ("Tuning",),
    "nn.encoders.adapters": ("IA3", "LoRA"),
    "nn.pooling": ("AttentionPooling", "ClsPooling", "LastPooling", "MaxPooling", "MeanPooling", "MixedPooling"),
    "nn.sentence_pooling": ("AutoPooling",),
    "nn.heads.linear": ("Head",),
    "nn.heads.label_query": ("LabelQueryHead",),
    "nn.losses.asymmetric": ("Asymmetric",),
    "nn.losses.binary_cross_entropy": ("BinaryCrossEntropy",),
    "nn.losses.contrastive": ("SupervisedContrastive",),
    "nn.losses.cross_entropy": ("CrossEntropy",),
    "nn.losses.focal": ("Focal",),
    "nn.losses.mixup": ("Mixup",),
    "nn.losses.r_drop": ("RDrop",),
    "nn.losses.smooth_l1": ("SmoothL1",),
    "nn.losses.squared_error": ("SquaredError",),
    "nn.losses.temperature": ("Temperature",),
    "model.learning.head_init": ("RandomInit",),
    "model.learning.label_texts": ("LabelTexts",),
    "training.linear_probe": ("LinearProbe",),
    "model.text.text": ("Text",),
    "model.text.normalization": ("Normalization",),
    "model.text.windows": ("Windows",),
    "model.cache.cache": ("EncoderCache",),
    "model.learning.augmentation": ("NoAugmentation",),
    "corpora.noise.augmentation": ("Augmentation",),
    "corpora.reading.piece_rows": ("PieceRows",),
    "training.adamw": ("AdamW",),
    "training.loop.rates": ("WarmupLinear",),
}

_LAZY = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_LAZY)]  # pyright: ignore[reportUnsupportedDunderAll]

# Type checkers take the imports above, and so report a name that is not there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name at its first use."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=None)
        value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LAZY})
