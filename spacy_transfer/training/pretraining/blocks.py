"""What a pretraining takes of a classifier's config."""

from pathlib import Path

from spacy.errors import Errors
from spacy.schemas import ConfigSchemaNlp
from spacy.util import registry
from thinc.api import Config

from ...config.blocks import filled, function_of
from ...errors import T138
from ...json_types import JsonMapping, JsonObject
from ...model.shims.masked_lm_shim import MASKED_LM, MaskedLMSettings
from ...model.shims.settings import ENCODER, TEXT, WINDOWS
from ...model.text.text import Text
from ...pipeline.components import name_meant
from ...pipeline.loading import load_pipeline
from .plan import Pretraining

_CLASSIFIER = ("architectures", "spacy-transfer.TransferClassifier.v1")
_SHARED = ("encoder", "windows", "text", "piece_budget", "precision", "device")


def model_of(config: Config, component: str | None, *, path: Path | str) -> JsonObject:
    """Find the block `model` of a classifier in a config; nothing is built of it.

    config (Config): As `read_config` gives it.
    component (str | None): Name of the classifier; None means the only one.
    path (Path | str): Where the config comes from, for messages.
    RETURNS (JsonObject): Interpolated, with all defaults.
    RAISES (ValueError): T138 unless it is clear which classifier is meant; what spaCy says of a pipeline with a
        component that is not there.
    RAISES (ConfigValidationError): For values of another type.
    """
    whole = filled(config).interpolate()
    nlp = registry.resolve(whole["nlp"], schema=ConfigSchemaNlp)
    models = {name: _model_of(whole, name) for name in nlp["pipeline"] if name not in nlp["disabled"]}
    ours = {name: model for name, model in models.items() if function_of(model) == _CLASSIFIER}
    name = name_meant(ours, component)
    if name is None:
        raise ValueError(T138.format(path=path, found=", ".join(ours) or "none"))
    # As spaCy fills in a component when it makes a pipeline: what has the wrong type is found here.
    model: JsonObject = registry.fill({"model": ours[name]})["model"]
    return model


def _model_of(whole: Config, name: str) -> JsonObject | None:
    if name not in whole["components"]:
        raise ValueError(Errors.E956.format(name=name, opts=", ".join(whole["components"])))
    block = whole["components"][name]
    if "source" in block:
        # The block of such a component stands in another pipeline.
        nlp = load_pipeline(block["source"])
        block = nlp.config.interpolate()["components"].get(block.get("component", name), {})
    return block.get("model")


def blocks_of(model: JsonMapping, plan: Pretraining) -> MaskedLMSettings:
    """Make the blocks that a classifier and the masked LM have in common.

    model (JsonMapping): The block of the classifier, of `model_of`.
    plan (Pretraining): Steps, rows, rate.
    RETURNS (MaskedLMSettings): Blocks; nothing is loaded yet.
    RAISES (ValueError): T001 for a block of the wrong kind, T005 for a number out of range.
    """
    shared = registry.resolve({"model": {key: model[key] for key in _SHARED}})["model"]
    return MaskedLMSettings(
        encoder=ENCODER.check(shared["encoder"], MASKED_LM),
        windows=WINDOWS.check(shared["windows"], MASKED_LM),
        text=Text() if shared["text"] is None else TEXT.check(shared["text"], MASKED_LM),
        share=plan.share,
        seed=plan.seed,
        piece_budget=shared["piece_budget"],
        precision=shared["precision"],
        device=shared["device"],
        objective=plan.objective,
        whole_words=plan.whole_words,
    )
