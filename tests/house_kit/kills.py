"""A process that is killed at one of its renames, without a process."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from spacy_transfer.files import renames, writing


class Killed(BaseException):
    """As SIGKILL: nothing may catch it, and nothing is cleaned up after it."""


class Renames:
    """Counts renames; from one of them on the process is dead.

    last (int): The rename that is not made any more, from 0. can_exchange (bool): Whether the system exchanges names.
    """

    def __init__(self, last: int, *, can_exchange: bool = True) -> None:
        self.last, self.can_exchange, self.n = last, can_exchange, 0
        self.is_dead = False

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        """Let everything that renames or removes pass here."""
        for name in ("rename", "replace", "link"):
            patch.setattr(os, name, self._counted(getattr(os, name)))
        for name in ("unlink", "remove", "rmdir", "mkdir"):
            patch.setattr(os, name, self._alive(getattr(os, name)))
        original = renames.exchange
        exchange = self._counted(original) if self.can_exchange else lambda one, other: False
        patch.setattr(writing, "exchange", exchange)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if self.is_dead or self.n >= self.last:
                self.is_dead = True
                raise Killed
            self.n += 1
            return call(*args, **options)

        return wrapped

    def _alive(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if self.is_dead:
                raise Killed
            return call(*args, **options)

        return wrapped


@contextmanager
def killed_at_rename(monkeypatch: pytest.MonkeyPatch, last: int, **options: Any) -> Iterator[Renames]:
    """Within: the process dies at this rename; YIELDS (Renames): `is_dead` says whether it came so far."""
    counter = Renames(last, **options)
    with monkeypatch.context() as patch:
        counter.patch(patch)
        try:
            yield counter
        except Killed:
            assert counter.is_dead


def every_kill(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any], **options: Any) -> Iterator[int]:
    """Do something that is killed at its first rename, at its second, and so on; the last time it is done to its end.

    work (Callable): Begins from the state that the caller has restored. YIELDS (int): After each kill, its number.
    """
    last = 0
    while True:
        with killed_at_rename(monkeypatch, last, **options) as counter:
            work()
        if not counter.is_dead:
            return
        yield last
        last += 1
