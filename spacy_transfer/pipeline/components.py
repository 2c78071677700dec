"""The spacy-transfer components of a pipeline: which there are, what they read, and which one is meant."""

from collections.abc import Iterable, Iterator

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Corpus, Example

from ..errors import T642, T791
from .interface import interface_of
from .sources import Source, attribute_of, has_attribute, parse_sources
from .stored_pipe import StoredPipe
from .targets.target import DOCUMENTS
from .textcat import TransferTextCategorizer


def components_of(nlp: Language, *, enabled_only: bool = False) -> dict[str, StoredPipe]:
    """Find all spacy-transfer components of a pipeline.

    nlp (Language): The pipeline.
    enabled_only (bool): Leave out those that are disabled.
    RETURNS (dict[str, StoredPipe]): By name, in the order of the pipeline.
    """
    pipes = nlp.pipeline if enabled_only else nlp.components
    return {name: pipe for name, pipe in pipes if isinstance(pipe, StoredPipe)}


def classifiers_of(nlp: Language, *, enabled_only: bool = False) -> dict[str, TransferTextCategorizer]:
    """Find the spacy-transfer classifiers of a pipeline.

    nlp (Language): The pipeline.
    enabled_only (bool): Leave out those that are disabled.
    RETURNS (dict[str, TransferTextCategorizer]): By name, in the order of the pipeline.
    """
    pipes = components_of(nlp, enabled_only=enabled_only)
    return {name: pipe for name, pipe in pipes.items() if isinstance(pipe, TransferTextCategorizer)}


def require_whole_documents(nlp: Language) -> None:
    """Refuse classifiers of sentences or spans, for what looks at documents.

    nlp (Language): The pipeline.
    RAISES (ValueError): T791.
    """
    for name, pipe in classifiers_of(nlp, enabled_only=True).items():
        if pipe.target.name != DOCUMENTS:
            raise ValueError(T791.format(name=name, target=pipe.target.name))


def name_meant(names: Iterable[str], asked: str | None) -> str | None:
    """Say which component is meant.

    names (Iterable[str]): Those that fit the purpose.
    asked (str | None): As the user names it; None means the only one.
    RETURNS (str | None): Its name; None if it is not among them, or if none is named and there is not exactly one.
    """
    fitting = list(names)
    if asked is not None:
        return asked if asked in fitting else None
    return fitting[0] if len(fitting) == 1 else None


def classifier_meant(nlp: Language, component: str | None) -> tuple[str, TransferTextCategorizer]:
    """Find the classifier that is meant.

    nlp (Language): The pipeline.
    component (str | None): Its name; None for the only one.
    RETURNS (tuple[str, TransferTextCategorizer]): Its name, and itself.
    RAISES (ValueError): T642; T791 for a classifier of sentences or spans.
    """
    require_whole_documents(nlp)
    pipes = classifiers_of(nlp, enabled_only=True)
    name = name_meant(pipes, component)
    if name is None:
        raise ValueError(T642.format(component=component or "", components=", ".join(pipes) or "none"))
    return name, pipes[name]


def media_read_by(pipes: Iterable[StoredPipe]) -> dict[str, str]:
    """Find the extension attributes in which spacy-transfer components read pictures and sounds.

    pipes (Iterable[StoredPipe]): The components.
    RETURNS (dict[str, str]): Names, bare, and the folder where relative paths start; empty for that of the file that
        the documents come from.
    """
    nets = [interface_of(pipe.model) for pipe in pipes]
    return {name: folder for net in nets if net is not None for name, folder in net.media.items()}


def sources_read_by(pipes: Iterable[StoredPipe]) -> list[Source]:
    """Say what spacy-transfer components read.

    pipes (Iterable[StoredPipe]): The components.
    RETURNS (list[Source]): Each once, in the order in which it is first read; sentences and spans that are classified
        one by one come last.
    """
    pipes = list(pipes)
    nets = [interface_of(pipe.model) for pipe in pipes]
    found = dict.fromkeys(name for net in nets if net is not None for name in net.sources)
    targets = [source for pipe in pipes if isinstance(pipe, TransferTextCategorizer) for source in pipe.target.sources]
    return [*(parse_sources(list(found)) if found else []), *dict.fromkeys(targets)]


def make_examples(nlp: Language, docs: Iterable[Doc]) -> Iterator[Example]:
    """Make examples of annotated documents, as spaCy's reader does; it leaves out those without text, where a picture
    or a sound can be enough.

    nlp (Language): Whose tokenizer makes the predicted documents.
    docs (Iterable[Doc]): As they were read.
    YIELDS (Example): With a predicted document that has nothing but the text.
    """
    corpus, media = Corpus(""), media_read_by(components_of(nlp).values())
    for doc in docs:
        if len(doc):
            yield from corpus.make_examples(nlp, [doc])
        elif any(has_attribute(doc, name) and attribute_of(doc, name) is not None for name in media):
            yield Example(nlp.make_doc(doc.text), doc)
