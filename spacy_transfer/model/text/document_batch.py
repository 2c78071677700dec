"""Documents that run through a network together."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...nn.joined import NOTHING, Joined
from .reader import Document


@dataclass(frozen=True)
class DocumentBatch:
    """Documents that run together, with all that belongs to each of them.

    documents (Sequence[Document]): The documents.
    lasting (Sequence[bool]): For each, whether the same rows will come again, so that a cache may have it.
    joined (Joined): What is joined to their vectors.
    """

    documents: Sequence[Document]
    lasting: Sequence[bool]
    joined: Joined = NOTHING

    def of(self, places: Sequence[int]) -> "DocumentBatch":
        """Select documents.

        places (Sequence[int]): Their numbers, each as often as it is wanted.
        """
        documents, lasting = [self.documents[i] for i in places], [self.lasting[i] for i in places]
        return DocumentBatch(documents, lasting, self.joined.of(places))
