"""What is changed in the config of a student, so that it learns a teacher's scores on the loop of `train`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thinc.api import Config

from ...config.blocks import filled, function_of
from ...errors import T705, T706
from ...json_types import ConfigBlock
from ...pipeline.components import name_meant
from .plan import Distillation

_OURS = ("transfer_textcat", "transfer_textcat_multilabel")
# Classifiers that can learn scores: whether their labels are exclusive.
_EXCLUSIVE = {"transfer_textcat": True, "transfer_textcat_multilabel": False, "textcat": True,
              "textcat_multilabel": False}  # fmt: skip
_TEMPERATURE = "spacy-transfer.Temperature.v1"
_DEFAULT = 2.0


@dataclass(frozen=True)
class Student:
    """A classifier of a config that learns.

    name (str): Of the component.
    exclusive (bool): Exactly one label a text.
    is_ours (bool): A spacy-transfer component, not one of spaCy's.
    lang (str): Language of the pipeline.
    corpora (tuple[str, str]): Keys of the training and the dev corpus.
    model (ConfigBlock): Of its blocks those that the config has; empty for one of spaCy's.
    """

    name: str
    exclusive: bool
    is_ours: bool
    lang: str
    corpora: tuple[str, str]
    model: ConfigBlock

    @classmethod
    def of(cls, config: Config, component: str | None, path: Path | str) -> "Student":
        """Find the classifier of a config.

        config (Config): As `read_config` gives it.
        component (str | None): Its name; None means the only one.
        path (Path | str): For messages.
        RAISES (ValueError): T705 unless it is clear which one learns.
        """
        whole = filled(config)
        components = whole["components"]
        names = [n for n in whole["nlp"]["pipeline"] if components.get(n, {}).get("factory") in _EXCLUSIVE]
        if (name := name_meant(names, component)) is None:
            raise ValueError(T705.format(path=path, component=component or "", found=", ".join(names) or "none"))
        factory = components[name]["factory"]
        training = whole["training"]
        model = components[name].get("model") if factory in _OURS else None
        return cls(
            name, _EXCLUSIVE[factory], factory in _OURS, whole["nlp"]["lang"],
            (training["train_corpus"], training["dev_corpus"]), dict(model or {}),
        )  # fmt: skip

    def temperature(self, plan: Distillation) -> float:
        """By which logits are divided.

        RAISES (ValueError): T706 for another one than 1 where the student is spaCy's own.
        """
        if self.is_ours:
            return _DEFAULT if plan.temperature is None else plan.temperature
        if plan.temperature not in (None, 1.0):
            raise ValueError(T706.format(name=self.name, temperature=plan.temperature))
        return 1.0

    def values(self, train: Path, dev: Path, labels: Sequence[str], temperature: float) -> ConfigBlock:
        """Values of the config to replace, by dotted key.

        train (Path): Documents with the targets.
        dev (Path): Documents with labels.
        labels (Sequence[str]): All labels.
        temperature (float): Of the targets.
        """
        found = self.data_values(train, dev, labels)
        if not self.is_ours:
            found["initialize.before_init"] = {"@callbacks": "spacy-transfer.accept_soft_labels.v1"}
        elif temperature != 1.0:
            inner: ConfigBlock = self.model.get("loss") or {}
            if function_of(inner) == ("losses", _TEMPERATURE):
                inner = inner["loss"]
            found[f"components.{self.name}.model.loss"] = {
                "@losses": _TEMPERATURE, "temperature": temperature, "loss": dict(inner),
            }  # fmt: skip
        return found

    def data_values(self, train: Path, dev: Path, labels: Sequence[str]) -> ConfigBlock:
        """What of them is about corpora and labels.

        train (Path): Documents to learn from.
        dev (Path): Documents with labels.
        labels (Sequence[str]): All labels.
        """
        found: ConfigBlock = {
            key: {"@readers": "spacy.Corpus.v1", "path": str(path), "max_length": 0, "gold_preproc": False, "limit": 0,
                  "augmenter": None}
            for key, path in zip(self.corpora, (train, dev), strict=True)
        }  # fmt: skip
        found[f"initialize.components.{self.name}.labels"] = list(labels)
        return found
