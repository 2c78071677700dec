"""The commands `spacy transfer ...`: each is a thin layer over a plain function of the same name."""

from .analysis.curve import curve_cli
from .analysis.doctor import doctor_cli
from .analysis.explain import explain_cli
from .analysis.report import report_cli
from .analysis.robustness import robustness_cli
from .analysis.suggest import suggest_cli
from .data.augment import augment_cli
from .data.check import check_cli
from .data.convert import convert_cli
from .data.init import init_cli
from .fetch import fetch_cli
from .group import transfer_cli
from .pipelines.apply import apply_cli
from .pipelines.attach import attach_cli, detach_cli
from .pipelines.card import card_cli
from .pipelines.classify import classify_cli
from .pipelines.evaluate import evaluate_cli
from .pipelines.export import export_cli
from .pipelines.import_classifier import import_cli
from .pipelines.merge import merge_cli
from .pipelines.serve import serve_cli
from .pipelines.show import show_cli
from .training.adapt import adapt_cli
from .training.calibrate import calibrate_cli
from .training.choose import choose_cli
from .training.distill import distill_cli
from .training.pretrain import pretrain_cli
from .training.self_train import self_train_cli
from .training.train import train_cli
from .training.update import update_cli

__all__ = [
    "adapt_cli",
    "apply_cli",
    "attach_cli",
    "augment_cli",
    "calibrate_cli",
    "card_cli",
    "check_cli",
    "choose_cli",
    "classify_cli",
    "convert_cli",
    "curve_cli",
    "detach_cli",
    "distill_cli",
    "doctor_cli",
    "evaluate_cli",
    "explain_cli",
    "export_cli",
    "fetch_cli",
    "import_cli",
    "init_cli",
    "merge_cli",
    "pretrain_cli",
    "report_cli",
    "robustness_cli",
    "self_train_cli",
    "serve_cli",
    "show_cli",
    "suggest_cli",
    "train_cli",
    "transfer_cli",
    "update_cli",
]
