"""The layer through which states arrive; the only file in the package's `model` that imports spacy-transformers."""

import inspect
from collections.abc import Sequence

from spacy.language import Language
from spacy.tokens import Doc
from spacy_transformers.layers import TransformerListener
from spacy_transformers.pipeline_component import Transformer
from thinc.api import Model
from torch import nn

from ...errors import T201, T201_EMPTY, T201_NO_NLP, T201_NONE, T201_SEVERAL, T202, T203
from .states import GiveBack, TransformerData, nobody


class StatesListener(TransformerListener):  # type: ignore[misc]
    """A listener that stays one when its model is copied; a copy by Thinc would be a plain layer.

    upstream_name (str): Name of the transformer component, or "*".
    """

    # What the transformer leaves here until it is asked for.
    _batch_id: int | None
    _outputs: list[TransformerData] | None
    _backprop: GiveBack | None

    def _copy(self, seen: dict[int, Model] | None = None) -> "StatesListener":
        copied = type(self)(self.upstream_name)
        if self.has_dim("nO"):
            copied.set_dim("nO", self.get_dim("nO"))
        return copied

    def __getstate__(self) -> tuple[dict[str, object], dict[str, object]]:
        # States that wait here are the business of the pipeline they were made in.
        state = super().__getstate__()
        assert isinstance(state, tuple)
        values, slots = state
        return {**values, "_batch_id": None, "_outputs": None, "_backprop": None}, slots

    @property
    def is_waiting(self) -> bool:
        """Whether states of a training batch lie here that nobody has asked for yet."""
        return self._outputs is not None

    def upstream(self) -> Transformer | None:
        """The component that made the states waiting here; None where there are none, or they lie on the documents.

        A listener is never told whom it listens to, and after loading nobody else knows either; the callback that it
        was given does.
        """
        if self._backprop is None:
            return None
        transformer = inspect.getclosurevars(self._backprop).nonlocals.get("self")
        return transformer if isinstance(transformer, Transformer) else None

    def received(self, docs: Sequence[Doc], name: str) -> tuple[list[TransformerData], GiveBack]:
        """States of training documents, and what takes their gradients.

        RETURNS (tuple): One TransformerData per document; a function of those of the documents that have states.
        RAISES (ValueError): T202 if the transformer did not run, T203 if it saw other documents.
        """
        if not any(len(doc) for doc in docs):
            # The transformer passes over a batch of empty documents.
            return states_on(docs, name), nobody
        if self._batch_id is None:
            return states_on(docs, name), nobody
        try:
            self.verify_inputs(docs)
        except ValueError as error:
            raise ValueError(T203.format(name=name, reason="another batch")) from error
        finally:
            # Not only after the backward pass: what fails before it would leave them here, and they hold the graph.
            outputs, backprop = self._outputs, self._backprop
            self._batch_id = self._outputs = self._backprop = None
        data = list(outputs or ())
        if len(data) != len(docs):
            raise ValueError(T203.format(name=name, reason=f"{len(data)} documents, not {len(docs)}"))
        for i, (doc, one) in enumerate(zip(docs, data, strict=True)):
            # What spaCy compares does not change with the order.
            if len(one.align.lengths) > len(doc):
                reason = f"document {i} had {len(one.align.lengths)} tokens, not {len(doc)}: the order differs"
                raise ValueError(T203.format(name=name, reason=reason))
        return data, backprop or nobody


def states_on(docs: Sequence[Doc], name: str) -> list[TransformerData]:
    """The states that the transformer left on documents.

    RAISES (ValueError): T202 for a document that has none.
    """
    from spacy_transformers.data_classes import TransformerData as Data

    found = []
    for doc in docs:
        data = doc._.trf_data if Doc.has_extension("trf_data") else None
        if data is None:
            if len(doc):
                raise ValueError(T202.format(name=name, what=repr(doc.text[:40])))
            data = Data.empty()
        found.append(data)
    return found


def body_of(transformer: Transformer) -> tuple[nn.Module | None, int]:
    """The encoder of transformers inside a transformer component, and the id under which an optimizer knows it; None
    for a model of another kind."""
    body = getattr(transformer.model, "transformer", None)
    return (body, transformer.model.layers[0].shims[0].id) if isinstance(body, nn.Module) else (None, 0)


def find_upstream(nlp: Language | None, name: str, upstream: str, *, training: bool = True) -> Transformer:
    """The transformer component that a component listens to.

    nlp (Language | None): The pipeline.
    name (str): Of the component.
    upstream (str): As in the block.
    training (bool): Whether states have to arrive in training.
    RAISES (ValueError): T201 if there is none before it, several, or one without weights; T202 if it is frozen and not
        told to annotate.
    """
    problem, transformer, names = "", None, []
    if nlp is None:
        problem = T201_NO_NLP
    else:
        # A frozen component is disabled while the others are initialized.
        names = list(nlp.component_names)
        before = names[: names.index(name)] if name in names else names
        fitting = [one for one in before if isinstance(nlp.get_pipe(one), Transformer) and upstream in ("*", one)]
        if not fitting:
            problem = T201_NONE.format(upstream=upstream)
        elif len(fitting) > 1:
            problem = T201_SEVERAL.format(found=fitting)
        else:
            transformer = nlp.get_pipe(fitting[0])
            if not transformer.model.has_dim("nO"):
                problem = T201_EMPTY.format(upstream=fitting[0])
    if problem or nlp is None or transformer is None:
        raise ValueError(T201.format(name=name, problem=problem, pipeline=names))
    block = nlp.config.get("training", {})
    frozen, annotating = (block.get(f"{key}_components") or () for key in ("frozen", "annotating"))
    if training and transformer.name in frozen and transformer.name not in annotating:
        what = f"the training texts, since '{transformer.name}' is frozen"
        raise ValueError(T202.format(name=name, what=what))
    return transformer
