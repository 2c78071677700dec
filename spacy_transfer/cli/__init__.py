"""The door, `spacy transfer ...`: thin commands, each above a plain function of its name."""

from .augment import augment_cli
from .check import check_cli
from .classify import classify_cli
from .convert import convert_cli
from .evaluate import evaluate_cli
from .fetch import fetch_cli
from .group import transfer_cli
from .merge import merge_cli
from .pretrain import pretrain_cli
from .show import show_cli
from .take_over import attach_cli, detach_cli
from .train import train_cli

__all__ = [
    "attach_cli",
    "augment_cli",
    "check_cli",
    "classify_cli",
    "convert_cli",
    "detach_cli",
    "evaluate_cli",
    "fetch_cli",
    "merge_cli",
    "pretrain_cli",
    "show_cli",
    "train_cli",
    "transfer_cli",
]
