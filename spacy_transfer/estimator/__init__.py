"""An estimator with scikit-learn's conventions."""

from ..errors import require

# scikit-learn is an extra: say how to install it before the first import of it fails.
require("sklearn", "sklearn")

from .classifier import TransferClassifier  # noqa: E402

__all__ = ["TransferClassifier"]
