"""Gates before an encoder's layers, which a run can change for its own thread only.

Changing a layer for the time of a run instead would be seen by other threads, by a child that is forked meanwhile, and
by copies of the encoder: they would predict with another text's states.
"""

import copy
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

# A layer's forward pass: it gives states, or a tuple of states and what its family adds.
Forward = Callable[..., Tensor | tuple[object, ...]]
# What is taken in its place.
Passage = Callable[..., object]


class Passages(threading.local):
    """What each thread has put in the place of the layers' forward passes; by default nothing."""

    current: Passage | None = None

    @contextmanager
    def taking(self, passage: Passage) -> Iterator[None]:
        """Within: this thread takes `passage(gate, own forward, *args, **kwargs)` in the place of `forward(...)`."""
        before, self.current = self.current, passage
        try:
            yield
        finally:
            self.current = before

    def __reduce__(self) -> tuple[object, ...]:
        # A copy belongs to another encoder, in which no run is under way.
        return Passages, ()

    def __deepcopy__(self, memo: dict[int, object]) -> "Passages":
        memo[id(self)] = copied = Passages()
        return copied


class LayerGate:
    """Stands in the place of a layer's `forward`, from the first run that needs it on.

    Not a hook: T5 in transformers 4.45 calls `forward` itself under gradient checkpointing.

    layer (nn.Module): The layer.
    passages (Passages): Of its encoder.
    number (int): Of the layer, from 0; -1 for what is called between the layers.
    """

    def __init__(self, layer: nn.Module, passages: Passages, number: int) -> None:
        # Weakly: the layer holds the gate, and weights in a circle would wait for the garbage collector.
        self._layer, self.passages, self.number = weakref.ref(layer), passages, number

    def __call__(self, *args: object, **kwargs: object) -> object:
        own = type(self.layer).forward
        if (passage := self.passages.current) is None:
            return own(self.layer, *args, **kwargs)
        return passage(self, lambda *given, **options: own(self.layer, *given, **options), *args, **kwargs)

    @property
    def layer(self) -> nn.Module:
        """The layer."""
        layer = self._layer()
        # It holds the gate.
        assert layer is not None
        return layer

    def __reduce__(self) -> tuple[object, ...]:
        return LayerGate, (self.layer, self.passages, self.number)

    def __deepcopy__(self, memo: dict[int, object]) -> "LayerGate":
        return LayerGate(copy.deepcopy(self.layer, memo), copy.deepcopy(self.passages, memo), self.number)
