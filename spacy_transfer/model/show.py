"""Draws the network that a config builds, depth by depth, as text."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from spacy.language import DEFAULT_CONFIG, Language
from spacy.training.initialize import init_nlp
from thinc.api import Config

from ..config.reading import read_config
from ..errors import T099, T429
from ..files import no_such_file
from ..nn.tuning import DepthRow
from ..pipeline.components import classifiers_of
from ..pipeline.interface import SharedEncoderInterface, interface_of
from ..pipeline.loading import load_pipeline
from ..quiet import silent
from .exported.architecture import OnnxClassifier
from .exported.onnx_shim import OnnxShim
from .features.drawing import describe_features
from .networks import networks_of
from .shims.classifier_shim import ClassifierShim
from .shims.own_encoder_shim import OwnEncoderShim

# Blocks before and after the network's own parts, as they follow each other.
_BEFORE = ("text", "augmentation", "windows")
_AFTER = ("loss", "label_texts", "head_init", "cache")


def show(path: Path, overrides: Mapping[str, object] | None = None) -> str:
    """Draw every classifier of ours in a config or a trained pipeline.

    path (Path): A config file, which is initialized with its data as for training, or the folder of a trained pipeline.
    overrides (dict | None): Values of the config to change, {"paths.train": "corpus/train.spacy"}.
    RETURNS (str): Lines of text.
    RAISES (FileNotFoundError): T440 if there is no such path.
    RAISES (ValueError): T099 if nothing in it is ours, T429 for values to change in a trained pipeline, T330 to T334
        and T420 to T426 for a config or values that nothing reads.
    """
    if not path.exists():
        raise no_such_file(path)
    if path.is_dir() and overrides:
        raise ValueError(T429.format(path=path, keys=", ".join(f"--{key}" for key in overrides)))
    if path.is_dir():
        with silent():
            nlp = load_pipeline(path)
        return draw_all(nlp, path)
    return draw_all(initialized(read_config(path, overrides)), path)


def initialized(config: Config) -> Language:
    """Make the pipeline of a config, and initialize it with its data, as for training.

    config (Config): As `read_config` gives it.
    RETURNS (Language): The pipeline.
    """
    # The table of trainable weights, which would say the same, is not announced.
    with silent():
        return init_nlp(DEFAULT_CONFIG.merge(config))


def draw_all(nlp: Language, path: Path) -> str:
    """Draw every classifier of ours in a pipeline.

    nlp (Language): The pipeline.
    path (Path): Where it comes from, for the message.
    RETURNS (str): Lines of text.
    RAISES (ValueError): T099 if nothing in it is ours.
    """
    ours = {name: interface_of(pipe.model) for name, pipe in classifiers_of(nlp).items()}
    networks = networks_of(nlp)
    pictures = [draw(name, nlp) for name, net in ours.items() if name in networks or isinstance(net, OnnxClassifier)]
    if not pictures:
        raise ValueError(T099.format(path=path, error="it has no spacy-transfer classifier"))
    return "\n\n".join(pictures)


def draw(name: str, nlp: Language) -> str:
    """Draw one classifier that has weights.

    name (str): Of the component.
    nlp (Language): Its pipeline.
    RETURNS (str): One line a part, from the text at the top to the scores at the bottom.
    """
    net = interface_of(nlp.get_pipe(name).model)
    if isinstance(net, OnnxClassifier):
        return _draw_exported(name, nlp.get_pipe(name).labels, net.shim)
    shim = networks_of(nlp)[name]
    if isinstance(net, SharedEncoderInterface):
        # The encoder is met by its first states otherwise.
        net.connect(nlp, name)
    labels, settings, rows = nlp.get_pipe(name).labels, shim.settings, shim.describe()
    total, trainable = sum(row.n_weights for row in rows), sum(row.n_trainable for row in rows)
    number = "exactly one" if settings.loss.exclusive else "any number"
    pieces = "as the transformer component cuts them"
    if isinstance(shim, OwnEncoderShim):
        windows = f"windows of {shim.windows.length}"
        char_ngrams = shim.record["config"].get("char_ngrams")
        shared = f" with {char_ngrams['n_ngrams']:,} shared n-grams" if char_ngrams else ""
        pieces = f"{shim.tokenizer.n_pieces:,} in the vocabulary{shared}, {windows}"
    lines = [
        f"{name}: {len(labels)} labels, {number} per text",
        f"{total:,} weights, {trainable:,} trainable ({trainable / max(total, 1):.0%})",
        "",
        *(_line(field, _builder(getattr(settings, field))) for field in _BEFORE if _differs(settings, field)),
        _line("pieces", pieces),
        *_encoder(shim, rows[1:]),
        *_top(shim, rows[0], describe_features(nlp.get_pipe(name).model)),
        *(
            _line(field, _builder(getattr(settings, field)))
            for field in _AFTER
            if field == "loss" or _differs(settings, field)
        ),
        _line("scores", _shown(labels)),
    ]
    return "\n".join(line.rstrip() for line in lines)


def _draw_exported(name: str, labels: Sequence[str], shim: OnnxShim) -> str:
    """Draw a classifier whose network is a graph: what is left of the config's blocks, and what runs it."""
    settings, state, runs = shim.settings, shim.state, shim.computes_with
    lines = [
        f"{name}: {len(labels)} labels, {'exactly one' if settings.exclusive else 'any number'} per text",
        f"exported: runs on {runs['runtime']} in {runs['precision']}, and learns no more",
        "",
    ]
    if _differs(settings, "text"):
        lines.append(_line("text", _builder(settings.text)))
    encoder = state["encoder"]
    lines += [
        _line("pieces", f"{state['n_pieces']:,} in the vocabulary, windows of {shim.window_length}"),
        _line("encoder", f"{encoder['family']}, width {state['width']} ({encoder['source']})"),
    ]
    if state["n_features"]:
        lines.append(_line("features", f"{state['n_features']} numbers per text, joined to its vector"))
    return "\n".join([*lines, _line("scores", _shown(labels))])


def _encoder(shim: ClassifierShim, rows: Sequence[DepthRow]) -> Iterator[str]:
    network = shim.network
    source = str(shim.record.get("source", "")) if isinstance(shim, OwnEncoderShim) else ""
    yield _line(
        "encoder", f"{network.encoder.family}, width {network.encoder.width} {source and f'({source})'}".strip()
    )
    boundary = network.boundary
    for row in reversed(rows):
        yield _line(f"  {row.name}", f"{row.n_weights:>12,}   {_state(row)}")
        if row.depth == boundary and row.depth < network.n_layers:
            cached = ", its states are cached" if boundary >= 1 and not shim.settings.cache.is_off else ""
            yield _line("", f"    - - - no gradients above this line{cached} - - -")


def _top(shim: ClassifierShim, row: DepthRow, features: Sequence[str]) -> Iterator[str]:
    settings, network = shim.settings, shim.network
    reads_states = getattr(network.head, "reads", "vectors") == "states"
    if not reads_states:
        yield _line("pooling", f"{_builder(settings.pooling)}, one vector of {network.vector_width} per text")
    if shim.n_features:
        yield _line("features", f"{shim.n_features} numbers per text, joined to its vector")
        yield from (_line("", f"  {line}") for line in features)
    yield _line("head", f"{_builder(settings.head)}, {network.head.n_labels} logits")
    yield _line("", f"{row.n_weights:>12,}   {_state(row)}")


def _state(row: DepthRow) -> str:
    if not row.n_trainable:
        return "frozen" if row.n_weights else "no weights of its own"
    rate = "" if row.lr_factor == 1.0 else f" at {row.lr_factor:.3g} times the learning rate"
    return ("trainable" if row.n_trainable == row.n_weights else f"{row.n_trainable:,} trainable") + rate


def _line(what: str, text: str) -> str:
    return f"  {what:<14} {text}"


def _shown(labels: Sequence[str]) -> str:
    most = 8
    return ", ".join(labels[:most]) + (f" and {len(labels) - most} more" if len(labels) > most else "")


def _differs(settings: object, field: str) -> bool:
    """Whether a block is there and changes anything; a neutral builder is nothing to draw."""
    builder = getattr(settings, field, None)
    if builder is None or type(builder).__name__.startswith(("No", "Random")):
        return False
    return field not in ("text", "windows", "cache") or bool(builder != type(builder)())


def _builder(builder: object) -> str:
    """Name of a block, and what it sets apart from its defaults."""
    if not dataclasses.is_dataclass(builder):
        return type(builder).__name__
    found = []
    for field in dataclasses.fields(builder):
        value = getattr(builder, field.name)
        if field.default is dataclasses.MISSING or value != field.default:
            inner = _builder(value) if dataclasses.is_dataclass(value) else f"{field.name} = {value!r}"
            found.append(inner)
    return type(builder).__name__ + (f" ({', '.join(found)})" if found else "")
