"""The reader `spacy-transfer.Corpus.v1`, for `.spacy` files whose documents hold more than a text."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from spacy.language import Language
from spacy.training import Example
from spacy.training.corpus import dont_augment

from ...docbins import find_docbins, read_docs
from ...errors import T005
from ...pipeline.components import components_of, make_examples, sources_read_by
from ...pipeline.sources import carry_over

Augmenter = Callable[[Language, Example], Iterable[Example]]


def make_corpus(
    *, path: Path, limit: int = 0, augmenter: Augmenter | None = None
) -> Callable[[Language], Iterator[Example]]:
    """Read .spacy files as `spacy.Corpus.v1` does, but give the predicted documents what our components read.

    spaCy's reader makes the predicted document from the bare text, so `doc._.title` and span groups stay behind, though
    a document in use has them. Only what the `text` blocks of the pipeline name goes over, no other annotation.

    path (Path): A file or a folder, "~" is the home folder. Attributes are in it if it was written with
        `DocBin(store_user_data=True)`, or by `spacy transfer convert --attribute-field`.
    limit (int): Most documents; 0 is all.
    augmenter (Callable | None): As for `spacy.Corpus.v1`; attributes are those of the document that was augmented, and
        so are span groups where its text did not change.
    RETURNS (Callable): Pipeline to Examples.
    RAISES (ValueError): T005 for a limit below 0; where it is read, T391 for a table or a folder without
        .spacy files, T047 and T397 for a file that cannot be read.
    RAISES (FileNotFoundError): T440 where it is read and nothing is there.
    """
    if limit < 0:
        raise ValueError(T005.format(block="spacy-transfer.Corpus.v1", field="limit", value=limit, want="limit >= 0"))
    augment: Augmenter = augmenter or dont_augment

    def read(nlp: Language) -> Iterator[Example]:
        """Read the files, changed by the augmenter, with the attributes that components of the pipeline read."""
        sources = sources_read_by(components_of(nlp).values())
        files = find_docbins(Path(path).expanduser())
        docs = (doc for file in files for doc in read_docs(file, nlp.vocab))
        for example in islice(make_examples(nlp, docs), limit or None):
            carry_over(sources, example.reference, example.predicted)
            for augmented in augment(nlp, example):
                carry_over(sources, example.reference, augmented.predicted)
                yield augmented

    return read
