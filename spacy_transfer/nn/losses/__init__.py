"""Losses on logits: one file each, one line each in the entry-point table. What they share is in `loss`."""

from .binary_cross_entropy import BinaryCrossEntropy
from .cross_entropy import CrossEntropy
from .loss import Loss, LossBuilder, label_weights

__all__ = ["BinaryCrossEntropy", "CrossEntropy", "Loss", "LossBuilder", "label_weights"]
