"""The block for the encoder of a `transformer` component, and its stand-in in the network."""

from dataclasses import dataclass

from torch import Tensor, nn

from ...checks import check_number
from ...errors import T200
from ...json_types import JsonObject
from ..scratch.tokenizer_training import Texts, no_texts
from .encoder import Encoder
from .pretrained import LoadedEncoder


@dataclass(frozen=True)
class SharedEncoder:
    """The states of a `transformer` component (spacy-transformers) that stands earlier in the pipeline.

    Gradients go back to it, so one encoder serves a tagger, an NER and this classifier. It is loaded, stepped and
    stored by its own component; `windows`, `cache`, `piece_budget` and `device` of ours do not reach it, `tuning`
    does: frozen depths, what moves in them, and unfreezing, but no rate for each depth.

    upstream (str): Name of the transformer component; "*" is the one before us.
    grad_factor (float): Factor on the gradients that go back; 0 leaves the encoder to the other components.
    """

    upstream: str = "*"
    grad_factor: float = 1.0

    def __post_init__(self) -> None:
        check_number("encoder", self, "grad_factor", "grad_factor >= 0", lambda value: 0.0 <= value < float("inf"))

    def load(self, texts: Texts = no_texts) -> LoadedEncoder:
        """There is nothing to load.

        RAISES (ValueError): T200.
        """
        raise ValueError(T200)

    def rebuild(self, record: JsonObject) -> Encoder:
        """There is nothing to rebuild.

        RAISES (ValueError): T200.
        """
        raise ValueError(T200)


class EncoderElsewhere(nn.Module):
    """Stands in a network for an encoder that another component runs: no weights, only the width of its states.

    width (int): Width of the states.
    """

    family = "of the transformer component"
    n_layers = 0
    max_pieces = None
    pad_id = 0

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Never run.

        RAISES (ValueError): T200.
        """
        raise ValueError(T200)
