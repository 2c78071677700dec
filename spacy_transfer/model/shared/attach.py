"""Move a classifier from a shared encoder to its own, and back; scores do not change."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from spacy.language import Language
from spacy.util import load_model_from_config
from thinc.config import Config

from ...errors import T206, T207, T209, T212
from ...nn.encoders.handing_over import from_body, load_folder, write_folder
from ...nn.scratch.transformer import SCRATCH
from ...nn.static.body import STATIC
from ...pipeline.components import name_meant
from ..features.layer import features_of
from ..networks import networks_of
from ..shims.own_encoder_shim import OwnEncoderShim
from ..storage.snapshot import StoredNetwork
from ..storage.weights import weights_of
from ..text.tokenizer import PieceTokenizer
from .shim import SharedEncoderShim

Kind = TypeVar("Kind", OwnEncoderShim, SharedEncoderShim)


def detach(nlp: Language, component: str | None = None) -> Language:
    """Give a classifier on a shared encoder a copy of that encoder, as its own.

    The transformer leaves the pipeline where nobody else listens to it. Scores stay within 1e-5 for texts that are one
    span there and one window here; longer ones are cut by pieces here and by tokens there. Precision becomes fp32,
    that of the transformer.

    nlp (Language): A trained pipeline; it is left as it is.
    component (str | None): The classifier; None for the only one.
    RETURNS (Language): A new pipeline.
    RAISES (ValueError): T207 if there is no such component, T201 if its transformer is not there, T208 for an
        encoder-decoder, T210 for a slow tokenizer.
    """
    name, shim = _find(nlp, component, SharedEncoderShim, "a shared encoder")
    from .listener import body_of, find_upstream

    transformer = find_upstream(nlp, name, shim.builder.upstream, training=False)
    body, _ = body_of(transformer)
    if body is None:
        raise ValueError(T207.format(name=name, want="a shared encoder of transformers", found=transformer.name))
    source = str(nlp.get_pipe_config(transformer.name)["model"].get("name", transformer.name))
    loaded = from_body(body, transformer.model.tokenizer, Path(source).name)
    config = nlp.config.copy()
    model = config["components"][name]["model"]
    model["encoder"] = {"@misc": "spacy-transfer.PretrainedEncoder.v1", "name": source}
    model["precision"] = "fp32"
    windows, longest = model["windows"], loaded.encoder.max_pieces
    if windows["length"] != "auto":
        windows["length"] = min(windows["length"], longest or windows["length"])
        if windows["stride"] != "auto":
            room = windows["length"] - PieceTokenizer(loaded.tokenizer).n_special
            windows["stride"] = min(windows["stride"], room)
    gone = [] if set(transformer.listening_components) - {name} else [transformer.name]
    for one in gone:
        _remove(config, one)
    weights = {f"encoder.{key}": value for key, value in weights_of(loaded.encoder).items()}
    weights.update(weights_of(shim.network))
    state = {
        "n_steps": shim.n_steps, "label_weights": shim.label_weights, "n_labels": shim.network.head.n_labels,
        "n_features": shim.n_features, "awaited": list(shim.network.head.awaited), "balanced": shim.is_balanced,
        "n_groups": shim.n_groups,
    }  # fmt: skip
    return _rebuilt(nlp, config, name, gone, StoredNetwork(loaded.record, loaded.tokenizer, weights, state))


def attach(nlp: Language, component: str | None = None, *, transformer: str = "transformer") -> Language:
    """Put the encoder of a classifier into a `transformer` component before it, for other components to share.

    The transformer cuts documents by tokens, with the window and stride that the classifier has in pieces. What a
    shared encoder cannot follow is set to its neutral value: rates by depth, precision, gradient checkpointing.

    nlp (Language): A trained pipeline; it is left as it is.
    component (str | None): The classifier; None for the only one.
    transformer (str): Name of the new component.
    RETURNS (Language): A new pipeline.
    RAISES (ValueError): T207 if there is no such component, T208 for the encoder of an encoder-decoder, T209 if the
        name is taken.
    RAISES (ImportError): T206 without spacy-transformers.
    """
    try:
        from spacy_transformers.layers.transformer_model import huggingface_from_pretrained
    except ImportError as error:
        raise ImportError(T206) from error
    name, shim = _find(nlp, component, OwnEncoderShim, "an encoder of its own")
    for what, found, way_out in (
        ("an adapter", "adapter" in shim.record, "merge it first, 'spacy transfer merge PIPELINE OUTPUT'"),
        (
            "an encoder made from scratch",
            shim.record["config"]["model_type"] == SCRATCH,
            "only pretrained ones can be shared",
        ),
        (
            "a static encoder",
            shim.record["config"]["model_type"] == STATIC,
            "share the encoder that it was made from",
        ),
    ):
        if found:
            raise ValueError(T212.format(name=name, what=what, way_out=way_out))
    if transformer in nlp.component_names:
        raise ValueError(T209.format(name=transformer))
    config = nlp.config.copy()
    model = config["components"][name]["model"]
    config["components"][transformer] = {
        "factory": "transformer",
        "model": {
            "@architectures": "spacy-transformers.TransformerModel.v3",
            "name": model["encoder"].get("name", shim.network.encoder.family),
            "tokenizer_config": {"use_fast": True},
            "get_spans": {
                "@span_getters": "spacy-transformers.strided_spans.v1",
                "window": shim.windows.length,
                "stride": shim.windows.stride,
            },
        },
    }
    pipeline = list(config["nlp"]["pipeline"])
    pipeline.insert(pipeline.index(name), transformer)
    config["nlp"]["pipeline"] = pipeline
    model["encoder"] = {"@misc": "spacy-transfer.SharedEncoder.v1", "upstream": transformer}
    model.update(precision="auto", gradient_checkpointing=False)
    model["tuning"].update(lr_decay=1.0, embeddings_lr_factor=1.0)
    if model["head"].get("init") == "names":
        # They have started long ago.
        model["head"]["init"] = "random"
    own = {key: value for key, value in weights_of(shim.network).items() if not key.startswith("encoder.")}
    state = {
        "n_steps": shim.n_steps, "label_weights": shim.label_weights, "n_labels": shim.network.head.n_labels,
        "n_features": shim.n_features, "width": shim.network.encoder.width,
        "awaited": list(shim.network.head.awaited), "balanced": shim.is_balanced, "n_groups": shim.n_groups,
    }  # fmt: skip
    out = _rebuilt(nlp, config, name, [], StoredNetwork({}, "", own, state))
    with TemporaryDirectory() as folder:
        tokenizer = shim.tokenizer.text
        write_folder(shim.network.encoder, tokenizer, shim.record, Path(folder))
        loaded = load_folder(Path(folder), lambda where: huggingface_from_pretrained(where, {"use_fast": True}, {}))
    upstream = out.get_pipe(transformer).model
    upstream.attrs["set_transformer"](upstream, loaded)
    # Listeners learn their width.
    out._link_components()
    return out


def _find(nlp: Language, component: str | None, kind: type[Kind], want: str) -> tuple[str, Kind]:
    """The classifier and its shim; one without weights is none.

    kind (type): Of the shim.
    want (str): What its classifier has, for the message.
    """
    found = {name: shim for name, shim in networks_of(nlp).items() if isinstance(shim, kind) and shim.is_built}
    name = name_meant(found, component)
    if name is None:
        raise ValueError(T207.format(name=component or "the component", want=want, found=", ".join(found) or "none"))
    return name, found[name]


def _remove(config: Config, name: str) -> None:
    """Take a component out of a config."""
    config["nlp"]["pipeline"] = [one for one in config["nlp"]["pipeline"] if one != name]
    del config["components"][name]
    config.get("initialize", {}).get("components", {}).pop(name, None)
    for key in ("frozen_components", "annotating_components"):
        if config.get("training", {}).get(key):
            config["training"][key] = [one for one in config["training"][key] if one != name]


def _rebuilt(nlp: Language, config: Config, name: str, gone: list[str], stored: StoredNetwork) -> Language:
    """A pipeline of another config, with the data of the old one and a network of its own."""
    out = load_model_from_config(config, auto_fill=True)
    out.from_bytes(nlp.to_bytes(exclude=[name, *gone]))
    pipe, old = out.get_pipe(name), nlp.get_pipe(name)
    pipe.cfg.update(old.cfg)
    pipe.model.shims[0].from_bytes(stored.to_bytes())
    pipe.model.set_dim("nO", len(old.labels), force=True)
    features, learned = features_of(pipe.model), features_of(old.model)
    if features is not None and learned is not None:
        features.from_bytes(learned.to_bytes())
    return out
