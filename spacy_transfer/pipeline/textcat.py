"""The component: a classifier with a pretrained Transformer in a spaCy pipeline."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer

from ..depth_table import depth_table
from ..errors import (
    T002,
    T003,
    T004,
    T031,
    T037,
    T037_COUNT,
    T037_MULTILABEL,
    T037_OTHER,
    T038,
    T039,
    T113,
    T331,
    T345,
    T347,
    T355,
    T540,
    T730,
    T731,
    T741,
    T741_EXPORTED,
    T741_SHARED,
    T747,
    T788,
    T788_SHARED,
    T788_SOURCES,
    T789,
    T791,
)
from ..files.fields import TEXT, dict_of, list_of, maybe, real, refuse, shown
from ..json_types import JsonMapping, JsonObject
from ..log import announce
from .dev_data import check_dev
from .explanations.attribution import Exactness
from .explanations.explanation import Explanation, Method
from .explanations.occlusion import occlude
from .explanations.words import check_words, columns_of, explanation_of
from .gold import Gold, check_label, read_gold
from .interface import (
    ClassifierInterface,
    ConfidenceFit,
    ExportedInterface,
    Floats,
    GradientInterface,
    JudgedScores,
    SharedEncoderInterface,
    classifier_of,
    interface_of,
)
from .length import forget_counted_steps, look_ahead
from .neighbors import as_seen_by, pipeline_of, training_docs, warn_of_shared_labels
from .sources import WHOLE_TEXT, left_behind, parse_sources, store_attribute
from .stored_pipe import StoredPipe
from .targets.target import DOCUMENTS, Target, WholeDocuments

Scorer = Callable[..., JsonObject]


# `doc._.transfer_confidence`: how sure it is that a document has one of the known labels.
CONFIDENCE = "transfer_confidence"


class NonFiniteLoss(ValueError):
    """A loss is NaN or infinite. Loops that leave such steps out catch it."""


class TransferTextCategorizer(StoredPipe):
    """Text classification with a transferred Transformer; writes `doc.cats`, or `span._.cats` of sentences or spans.

    One class serves both factories: exactly one label a document, or any number.

    vocab (Vocab): The shared vocabulary.
    model (Model): A `spacy-transfer.TransferClassifier.v1`, or a model with a `ClassifierInterface`.
    name (str): Name of the component.
    exclusive (bool): Exactly one label a document.
    threshold (float): Score from which a label counts as predicted when labels are not exclusive.
    score_prefix (str): Put before the names of all scores, for several classifiers in one pipeline.
    scorer (Callable | None): Makes the scores of `nlp.evaluate`.
    target (Target | None): What is classified: documents by default, their sentences, or the spans of a group. "A
        document" then means such a part in all that follows.
    RAISES (ValueError): T002 for a loss that does not go with exclusive or independent labels, T003 for another model,
        T788 for parts that a shared encoder, or a text of span groups, does not have.
    """

    learned = MappingProxyType({"labels": list_of(TEXT, distinct=True), "positive_label": maybe(TEXT)})
    learned_later = MappingProxyType({
        "thresholds": dict_of(real(0.0, 1.0)), "min_confidence": dict_of(real(0.0, 1.0)),
    })  # fmt: skip

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "transfer_textcat",
        *,
        exclusive: bool,
        threshold: float = 0.5,
        score_prefix: str = "",
        scorer: Scorer | None = None,
        target: Target | None = None,
    ) -> None:
        net = interface_of(model)
        if not isinstance(net, ClassifierInterface):
            raise ValueError(T003.format(name=name, got=model.name))
        if net.exclusive != exclusive:
            kinds = {True: "exclusive labels", False: "any number of labels"}
            raise ValueError(
                T002.format(name=name, want=kinds[exclusive], loss="the one given", got=kinds[not exclusive])
            )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.target = WholeDocuments() if target is None else target
        if self.target.name != DOCUMENTS:
            self._check_target(net)
        self.scorer = scorer
        self.cfg: JsonObject = {
            "labels": [],
            "threshold": threshold,
            "positive_label": None,
            # Of labels that `calibrate` found one for, in place of `threshold`.
            "thresholds": {},
            # Under "auto" the confidence from which a document counts as one with a known label.
            "min_confidence": {},
            "exclusive": exclusive,
            "score_prefix": score_prefix,
            # For the scorer.
            "target": self.target.name,
        }
        # Labels that `initialize` saw in the data and was told to leave to others.
        self._left_out: set[str] = set()
        self._table_shown = False
        self._inputs_checked = False
        self._neighbors_checked = False
        if not Doc.has_extension(CONFIDENCE):
            Doc.set_extension(CONFIDENCE, default=None)
        self._as_it_was: Model | None = None

    @property
    def _net(self) -> ClassifierInterface:
        return classifier_of(self.model)

    # ---- labels --------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """What `spacy init labels` writes."""
        return list(self.labels)

    @property
    def exclusive(self) -> bool:
        """Exactly one label a document."""
        return bool(self.cfg["exclusive"])

    @property
    def thresholds(self) -> dict[str, float]:
        """The score from which each label counts as predicted, where labels are not exclusive."""
        return {label: float(self.cfg["thresholds"].get(label, self.cfg["threshold"])) for label in self.labels}

    def add_label(self, label: str) -> int:
        """Add a label; old logits stay as they are, later training moves the new ones too.

        RETURNS (int): 1, or 0 if it is there already.
        RAISES (ValueError): T036 for a label that is no str, T146 for one that has no name to start its query from,
            T540 for an exported network.
        """
        check_label(label)
        if label in self.cfg["labels"]:
            return 0
        self._require_trainable()
        labels = [*self.labels, label]
        # First of all, since it may refuse the label.
        self._net.resize(len(labels), labels)
        self.cfg["labels"].append(label)
        self._neighbors_checked = False
        self.vocab.strings.add(label)
        return 1

    # ---- prediction ----------------------------------------------------------------------------------------------

    def predict(self, docs: Iterable[Doc]) -> Floats:
        """Scores of documents; empty ones get scores too.

        RETURNS (Floats): (n_docs, n_labels), `JudgedScores` where there is a confidence too; of sentences or spans all
            those of the documents, (n_parts, n_labels).
        RAISES (ValueError): T006 before `initialize`; T784, T785 for a document without the spans that are classified.
        """
        docs = self.target.parts(list(docs))
        self._require_weights()
        if not self._neighbors_checked:
            self._neighbors_checked = True
            warn_of_shared_labels(self)
        if not docs:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        scores, confidence = self._net.judge(docs)
        return scores if confidence is None else JudgedScores.of(scores, confidence)

    def vectors(self, docs: Iterable[Doc]) -> Floats:
        """Vectors of documents, as the pooling gives them to the head, without features; empty documents have one too.

        docs (Iterable[Doc]): With a shared encoder, documents that its transformer has seen: `nlp.pipe(texts)`.
        RETURNS (Floats): (n_docs, width), fp32, in the order of the documents; of sentences or spans (n_parts, width).
        RAISES (ValueError): T006 before `initialize`.
        """
        self._require_weights()
        return self._net.vectors(self.target.parts(list(docs)))

    def explain(
        self,
        docs: Iterable[Doc],
        *,
        labels: Sequence[str] | None = None,
        method: Method | Literal["auto"] = "auto",
        exactness: Exactness = Exactness(),  # noqa: B008 (frozen)
    ) -> list[list[Explanation]]:
        """Say which words of documents a score comes from.

        docs (Iterable[Doc]): With a shared encoder, documents that its transformer has seen: `nlp.pipe(texts)`.
        labels (Sequence[str] | None): Those to explain. None: the predicted ones of each document, or its best.
        method (str): "gradients": integrated gradients on the pieces, whose values sum to the difference of the logit
            with and without words. "occlusion": by how much the score falls without a word. "auto": gradients where the
            model has them.
        exactness (Exactness): Of gradients.
        RETURNS (list[list[Explanation]]): Of each document, one for each label.
        RAISES (ValueError): T006 before `initialize`, T741 for a model without gradients, T743 for a label that is not
            trained yet, T744 for a document without words, T745 for a label that does not exist, T791 for a component
            that classifies sentences or spans.
        """
        docs = list(docs)
        if self.target.name != DOCUMENTS:
            raise ValueError(T791.format(name=self.name, target=self.target.name))
        net = self._net
        if method == "gradients" and not isinstance(net, GradientInterface):
            reason = T741_EXPORTED.format(runtime=net.runtime) if isinstance(net, ExportedInterface) else T741_SHARED
            raise ValueError(T741.format(name=self.name, reason=reason))
        check_words(docs)
        chosen = None if labels is None else columns_of(labels, self.labels, self.name)
        found = []
        for doc, scores in zip(docs, self.predict(docs), strict=True):
            columns = self._predicted(scores) if chosen is None else chosen
            if method != "occlusion" and isinstance(net, GradientInterface):
                found.append([self._explain(net, doc, j, float(scores[j]), exactness) for j in columns])
                continue
            names = [self.labels[j] for j in columns]
            sources = parse_sources(self._sources)
            found.append(occlude(doc, names, columns, lambda new: self.predict(as_seen_by(self, new)), sources))
        return found

    def _explain(
        self, net: GradientInterface, doc: Doc, column: int, score: float, exactness: Exactness
    ) -> Explanation:  # fmt: skip
        label = self.labels[column]
        found = explanation_of(doc, label, score, net.attribution(doc, column, exactness))
        if found.gap is not None and found.gap > exactness.tolerance and not found.is_flat:
            text = T747.format(label=label, n_steps=found.n_runs, gap=found.gap, text=doc.text[:80])
            warnings.warn(text, stacklevel=3)
        return found

    def _predicted(self, scores: Floats) -> list[int]:
        """Columns of the predicted labels, or of the best one."""
        given = [] if self.exclusive else np.flatnonzero(scores >= np.asarray(list(self.thresholds.values()))).tolist()
        return given or [int(scores.argmax())]

    def set_annotations(self, docs: Iterable[Doc], scores: Floats) -> None:
        """Write `doc.cats`, or `span._.cats` of each sentence or span: every label; and `doc._.transfer_confidence`,
        where there is one."""
        docs = list(docs)
        self.target.write(docs, self.labels, scores)
        if isinstance(scores, JudgedScores):
            for doc, value in zip(docs, scores.confidence.tolist(), strict=True):
                store_attribute(doc, CONFIDENCE, value)

    def annotated(self, examples: Sequence[Example]) -> list[Example]:
        """What of annotated documents is learned from: the documents, or their annotated sentences or spans.

        examples (Sequence[Example]): Any number.
        RETURNS (list[Example]): Each sentence or span as a document of its own.
        """
        return self.target.annotated(examples, self.labels)

    def _check_target(self, net: ClassifierInterface) -> None:
        """RAISES (ValueError): T788."""
        groups = [source.name for source in parse_sources(net.sources or [WHOLE_TEXT]) if source.group is not None]
        problem = T788_SOURCES.format(sources=", ".join(groups)) if groups else ""
        if isinstance(net, SharedEncoderInterface):
            problem = T788_SHARED
        if problem:
            raise ValueError(T788.format(name=self.name, target=self.target.name, problem=problem))

    # ---- learning ------------------------------------------------------------------------------------------------

    def _require_trainable(self) -> None:
        """RAISES (ValueError): T540 for an exported network."""
        net = self._net
        if isinstance(net, ExportedInterface):
            raise ValueError(T540.format(name=self.name, runtime=net.runtime))

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch.

        examples (Iterable[Example]): Documents with `cats` in 0..1. Labels without annotation are left out of the loss
            when labels are independent, and count as 0 when they are exclusive.
        drop (float): Dropout of the head, where its block sets none; the encoder has its own, `encoder.dropout`.
        sgd (Optimizer | None): Steps at once; without it `finish_update` does.
        losses (dict | None): The sum of the documents' losses is added under the component's name.
        RAISES (ValueError): T032, T033, T036 for bad annotations, T331 for a dropout that is none, T540 for an exported
            network.
        RAISES (NonFiniteLoss): T347 for a loss of NaN or infinity; it stands in `losses`, and no step is made.
        """
        self._check_drop(drop)
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "TransferTextCategorizer.update")
        examples = self.annotated(examples)
        if not examples:
            return losses
        self._require_trainable()
        self._require_weights()
        self._show_table()
        forget_counted_steps()
        gold = self._gold(examples)
        docs = [eg.predicted for eg in examples]
        self._check_inputs(examples, docs)
        self._learn(docs, gold, drop, losses)
        if sgd not in (None, False):
            self.finish_update(sgd)
        return losses

    def _check_drop(self, drop: float) -> None:
        """RAISES (ValueError): T331 for a dropout that is none."""
        if not 0.0 <= drop < 1.0:
            raise ValueError(T331.format(key="drop", value=drop, want="a number, 0 <= drop < 1"))

    def _learn(self, docs: Sequence[Doc], gold: Gold, drop: float, losses: dict[str, float]) -> None:
        """Add the gradients of a batch.

        RAISES (NonFiniteLoss): T347; then there are none.
        """
        loss = self._net.step(docs, gold.targets, gold.known, dropout=drop)
        losses[self.name] += loss
        if isinstance(loss, float) and not math.isfinite(loss):
            texts = "; ".join(repr(doc.text[:60]) for doc in docs[:5])
            more = f" and {len(docs) - 5} more" if len(docs) > 5 else ""
            self._net.drop_gradients()
            raise NonFiniteLoss(T347.format(name=self.name, loss=loss, texts=texts + more))

    def finish_update(self, sgd: Optimizer) -> None:
        """Step with the gradients of all batches since the last step."""
        self._net.finish_update(sgd)

    def get_loss(self, examples: Iterable[Example], scores: Floats) -> tuple[float, Floats]:
        """Compute the loss of logits that `model.begin_update` gave, for training loops of your own.

        examples (Iterable[Example]): The annotated documents.
        scores (Floats): Logits, (n_docs, n_labels).
        RETURNS (tuple): Mean of the documents' losses, and its gradient, (n_docs, n_labels).
        """
        self._require_trainable()
        examples = list(examples)
        validate_examples(examples, "TransferTextCategorizer.get_loss")
        examples = self.annotated(examples)
        gold = self._gold(examples)
        return self._net.loss_gradient(scores, gold.targets, gold.known)

    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch to score as the pipeline did when `nlp.resume_training` was called, so that what it knew
        is not forgotten while `update` teaches it something new.

        Labels that were added since then are wrong for these texts where labels are exclusive, and left alone where
        they are independent.

        examples (Iterable[Example]): Texts like those it knew; of their annotations only the sentences or span
            groups, where those are classified.
        drop (float): As for `update`.
        sgd (Optimizer | None): Steps at once, as `nlp.rehearse` lets the optimizer of the pipeline; without one
            `finish_update` does.
        losses (dict | None): The sum of the documents' losses is added under the component's name.
        RAISES (ValueError): T331 for a dropout that is none, T540 for an exported network; T784, T785 as `predict`.
        RAISES (NonFiniteLoss): T347 for a loss of NaN or infinity; no step is made.
        """
        self._check_drop(drop)
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "TransferTextCategorizer.rehearse")
        if not examples:
            return losses
        self._require_trainable()
        self._require_weights()
        if self._as_it_was is None:
            is_shared = isinstance(self._net, SharedEncoderInterface)
            warnings.warn((T731 if is_shared else T730).format(name=self.name), stacklevel=2)
            return losses
        # Sentences and groups are those of the data: no component has seen the predicted documents.
        whole = self.target.name == DOCUMENTS
        docs = list(self.target.parts([eg.predicted if whole else eg.reference for eg in examples]))
        if not docs:
            return losses
        before = classifier_of(self._as_it_was)
        scores, awaited = before.scores(docs), list(before.awaited())
        targets = np.zeros((len(docs), len(self.labels)), dtype=np.float32)
        targets[:, : scores.shape[1]] = scores
        known = np.ones_like(targets)
        if not self.exclusive:
            known[:, scores.shape[1] :] = known[:, awaited] = 0.0
        self._learn(docs, Gold(targets, known, set(), set()), drop, losses)
        self._step_by(sgd)
        return losses

    @property
    def _rehearsal_model(self) -> Model | None:
        """What `nlp.resume_training` looks for, and sets to a copy of the model: the scores that `rehearse` keeps.

        RAISES (AttributeError): Where a copy would keep nothing: an exported network, or an encoder that is another
            component's.
        """
        if isinstance(self._net, ExportedInterface | SharedEncoderInterface):
            raise AttributeError("_rehearsal_model")
        return self._as_it_was

    @_rehearsal_model.setter
    def _rehearsal_model(self, model: Model | None) -> None:
        self._as_it_was = model

    def _step_by(self, sgd: Optimizer | None) -> None:
        """Step with the optimizer that is meant. `nlp.rehearse` gives a function that collects the gradients of one
        component, of whichever comes last, with the rate of the optimizer that it was given."""
        if isinstance(sgd, Optimizer):
            self.finish_update(sgd)
            return
        nlp = pipeline_of(self)
        optimizer = None if nlp is None else nlp._optimizer
        if sgd in (None, False) or optimizer is None:
            return
        rate = optimizer.learn_rate
        try:
            optimizer.learn_rate = sgd.learn_rate
            self.finish_update(optimizer)
        finally:
            optimizer.learn_rate = rate

    def set_epoch(self, epoch: int) -> None:
        """Tell unfreezing which epoch it is.

        epoch (int): From 0.
        """
        self._net.set_epoch(epoch)

    def clear_cache(self) -> None:
        """Free the memory that training keeps for its next epoch: pieces of texts, and states of frozen layers.

        Predictions outside a training loop add nothing to it. `spacy transfer train` does this at its end; call it
        yourself where one process trains, with `nlp.update` or `spacy train`, and then serves. Training may go on
        afterwards: what is needed is computed again.
        """
        self._net.forget_texts()

    def calibrate(self, temperature: float, thresholds: Mapping[str, float]) -> None:
        """Divide the logits by a temperature, which goes into the weights of the head, and keep thresholds of labels.

        temperature (float): Above 0; above 1 where scores are too sure.
        thresholds (Mapping[str, float]): Scores, after that, from which labels count as predicted; not used where
            labels are exclusive.
        The confidence for unknown labels is dropped: it looks at the logits too.

        RAISES (ValueError): T006 before `initialize`.
        """
        self._require_weights()
        self._net.scale_logits(1.0 / temperature)
        self.cfg["thresholds"] = {label: float(thresholds[label]) for label in self.labels if label in thresholds}
        self.cfg["min_confidence"] = {}

    @property
    def has_confidence(self) -> bool:
        """Whether documents get a `doc._.transfer_confidence`."""
        return self._net.has_confidence

    @property
    def min_confidence(self) -> float:
        """The confidence from which a document counts as one with a known label, found on dev; 0 without one."""
        return float(self.cfg["min_confidence"].get("auto", 0.0)) if self.has_confidence else 0.0

    def set_confidence(self, fit: ConfidenceFit | None, min_confidence: float = 0.0) -> None:
        """Keep what `doc._.transfer_confidence` is computed from. It is stored with the model, and dropped by training.

        fit (ConfidenceFit | None): None for no confidence.
        min_confidence (float): From which a document counts as one with a known label.
        RAISES (ValueError): T006 before `initialize`, T540 for an exported network.
        """
        self._require_weights()
        self._net.set_confidence(fit)
        self.cfg["min_confidence"] = {} if fit is None else {"auto": float(min_confidence)}

    def merge_adapter(self) -> int:
        """Add the adapter to the encoder's weights, for `spacy transfer merge`; the pipeline's config is not changed.

        RETURNS (int): Weights the adapter had; 0 if there is none.
        """
        self._table_shown = False
        return self._net.merge_adapter()

    def _gold(self, examples: Sequence[Example]) -> Gold:
        gold = read_gold([eg.reference for eg in examples], self.labels, exclusive=self.exclusive, name=self.name)
        if unknown := gold.unknown - self._left_out:
            self._left_out |= unknown
            warnings.warn(T038.format(name=self.name, unknown=sorted(unknown)), stacklevel=2)
        return gold

    # ---- initialization ------------------------------------------------------------------------------------------

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: list[str] | None = None,
        positive_label: str | None = None,
    ) -> None:
        """Load the pretrained encoder and make a head for the labels.

        get_examples (Callable): Gives the training data; read once.
        nlp (Language | None): The pipeline.
        labels (list[str] | None): The labels, as `spacy init labels` or `spacy transfer convert` write them; by default
            those of the training data.
        positive_label (str | None): Of two exclusive labels, the one whose F-score is the main score.
        RAISES (ValueError): T031 for too few labels, T032, T033, T036 for bad annotations, T037 for a positive label
            that is none, T039 without data, T004 for a score prefix that no score weight knows, and what the encoder
            block finds wrong; T540 for an exported network.
        """
        self._require_trainable()
        if not callable(get_examples):
            validate_get_examples(get_examples, "TransferTextCategorizer.initialize")
        examples = list(get_examples())
        if not examples:
            raise ValueError(T039.format(name=self.name))
        validate_examples(examples, "TransferTextCategorizer.initialize")
        whole, examples = examples, self._parts_to_learn(examples, nlp, labels)
        docs = [eg.reference for eg in examples]
        least = 2 if self.exclusive else 1
        if len(self.labels) < least:
            raise ValueError(T031.format(name=self.name, least=least, labels=list(self.labels)))
        if positive_label is not None:
            self._check_positive_label(positive_label)
        self.cfg["positive_label"] = positive_label
        self._check_score_weights(nlp)
        # Without examples, `nlp.initialize()` hands over a text of its own, which nobody has annotated.
        is_annotated = any(doc.cats for doc in docs)
        gold = read_gold(docs, self.labels, exclusive=self.exclusive and is_annotated, name=self.name)
        self._left_out = set(gold.unknown)
        if gold.missed:
            warnings.warn(T038.format(name=self.name, unknown=sorted(gold.missed)), stacklevel=2)
        positives = (gold.targets * gold.known).sum(axis=0).tolist()
        net = self._net
        if isinstance(net, SharedEncoderInterface):
            net.connect(nlp, self.name)
        if not is_annotated and (of_texts := net.made_of_texts()):
            warnings.warn(T345.format(name=self.name, blocks=", ".join(of_texts)), stacklevel=2)
        inputs = [eg.predicted for eg in examples]
        if self.target.name == DOCUMENTS:
            inputs = training_docs(examples, self._sources, nlp, self.name)
        known = gold.known.sum(axis=0).tolist()
        self._inputs_checked = False
        self._check_inputs(examples, inputs)
        # Before the head, whose width they add to.
        net.fit_features(inputs)
        net.initialize(self.labels, positives, known, inputs)
        self._note_machine(nlp)
        training = {} if nlp is None else nlp.config.get("training", {})
        is_streamed = training.get("max_epochs", 0) == -1
        net.prepare(inputs, gold.targets, gold.known, is_streamed=is_streamed)
        self._table_shown = False
        self._show_table()
        if is_annotated:
            look_ahead(nlp, whole)
            check_dev(nlp, self.name, self.labels, docs, self.annotated)
        self._neighbors_checked = True
        warn_of_shared_labels(self, nlp)

    def _parts_to_learn(
        self, examples: list[Example], nlp: Language | None, labels: Sequence[str] | None
    ) -> list[Example]:
        """Take the training data apart, and add the labels that they have.

        RAISES (ValueError): T789 for data in which nothing that is classified is annotated.
        """
        if self.target.name != DOCUMENTS:
            docs = training_docs(examples, [*self._sources, self.target.name], nlp, self.name)
            examples = [Example(doc, eg.reference) for doc, eg in zip(docs, examples, strict=True)]
        for label in _labels_in(eg.reference for eg in self.annotated(examples)) if labels is None else labels:
            self.add_label(label)
        # Now that all labels are known.
        parts = self.annotated(examples)
        if not parts:
            # Without examples, `nlp.initialize()` hands over a text of its own.
            if labels is None or len(examples) > 1:
                raise ValueError(T789.format(name=self.name, target=self.target.name, n_docs=len(examples)))
            return examples
        return parts

    def _check_positive_label(self, label: str) -> None:
        """RAISES (ValueError): T037 unless it is one of exactly two exclusive labels."""
        if not self.exclusive:
            problem = T037_MULTILABEL
        elif len(self.labels) != 2:
            problem = T037_COUNT.format(n_labels=len(self.labels), labels=list(self.labels))
        elif label not in self.labels:
            problem = T037_OTHER.format(labels=list(self.labels))
        else:
            return
        raise ValueError(T037.format(name=self.name, label=label, problem=problem))

    def _check_score_weights(self, nlp: Language | None) -> None:
        """A prefix renames the scores: without a weight of that name every evaluation would score 0."""
        prefix = self.cfg["score_prefix"]
        weights = (nlp.config.get("training", {}).get("score_weights") or {}) if nlp is not None else {}
        if prefix and weights and not any(key.startswith(f"{prefix}cats_") for key in weights):
            raise ValueError(T004.format(prefix=prefix, name=self.name))

    @property
    def _sources(self) -> list[str]:
        return self._net.sources or [WHOLE_TEXT]

    def _check_inputs(self, examples: Sequence[Example], docs: Sequence[Doc]) -> None:
        """Once: a reader that leaves behind what the component reads would train it on something else."""
        if self._inputs_checked:
            return
        self._inputs_checked = True
        sources = parse_sources(self._sources)
        lost = {
            name for eg, doc in zip(examples, docs, strict=True) for name in left_behind(sources, eg.reference, doc)
        }
        if lost:
            warnings.warn(T113.format(name=self.name, sources=", ".join(sorted(lost))), stacklevel=3)

    def _show_table(self) -> None:
        """Once before the first step: what moves, how fast."""
        if not self._table_shown:
            self._table_shown = True
            announce(depth_table(self.name, self._net.describe()))

    def _check_cfg(self, learned: JsonMapping, network: JsonMapping | None, where: Path | str) -> None:
        labels, positive, thresholds = learned["labels"], learned["positive_label"], learned["thresholds"]
        if network is not None and network.get("n_labels") != len(labels):
            want = f"a label for each of the network's outputs (network.n_labels = {shown(network.get('n_labels'))})"
            refuse(where, "labels", labels, want)
        if positive is not None and positive not in labels:
            refuse(where, "positive_label", positive, "one of the labels, or null")
        if not set(thresholds) <= set(labels):
            refuse(where, "thresholds", thresholds, "an object of labels")

    def _cfg_was_read(self) -> None:
        self._left_out = set()
        self._table_shown = False
        self._neighbors_checked = False

    def _model_was_read(self) -> None:
        if not self._net.weigh_labels(self.labels):
            warnings.warn(T355.format(name=self.name), stacklevel=3)


def _labels_in(docs: Iterable[Doc]) -> Iterator[str]:
    seen: dict[str, None] = {}
    for doc in docs:
        seen.update(dict.fromkeys(doc.cats))
    # Sorted, so that the order of the data decides nothing.
    yield from sorted(seen, key=lambda label: (str(type(label)), label))
