"""Locks that a fork waits for, so that a forked child never sees another thread's half-done work.

A child has only the thread that forked: a lock that another thread held would stay locked in it for ever, and what that
lock protects would stay as it was in the middle of a change. So before a fork every lock here is taken, outermost
first, and given back on both sides. Only what computes or copies for a bounded time may run under one; a fork would
otherwise wait for code that waits for the fork.
"""

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

# Whoever holds two locks has taken them in this order.
NETWORK, CACHE, FILES = range(3)

P = ParamSpec("P")
R = TypeVar("R")
Owner = TypeVar("Owner", bound="Locked")

_all: "weakref.WeakSet[ForkLock | NetworkLock]" = weakref.WeakSet()
_registering = threading.Lock()
_held: "list[ForkLock | NetworkLock]" = []


class ForkLock:
    """A lock that its holder may take again, and that is free in a forked child.

    level (int): NETWORK, CACHE or FILES. Two locks of one level are never held by the same thread.
    """

    def __init__(self, level: int) -> None:
        self.level = level
        self._lock = threading.RLock()
        with _registering:
            _all.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        """Wait for other threads."""
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Give back what `before_fork` took; in the child the only thread is the one that took it."""
        self._lock.release()


class NetworkLock:
    """Many threads predict with a network; one alone changes it, while none predicts.

    A thread may take it again, in any of the three ways, while it has it; only predictions may not begin to change.
    """

    level = NETWORK

    def __init__(self) -> None:
        self._turn = threading.Condition(threading.Lock())
        # How often each thread is inside `predicting`, and which thread holds the network, and how often.
        self._predicting: dict[int, int] = {}
        self._holder: int | None = None
        self._n_held = self._n_changing = self._n_waiting = 0
        with _registering:
            _all.add(self)

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """Within: nobody else changes the network. Whoever waits to change it comes first, so that a service under
        load still trains."""
        me = threading.get_ident()
        with self._turn:
            if not self._predicting.get(me) and self._holder != me:
                self._turn.wait_for(lambda: not self._n_changing and not self._n_waiting)
            self._predicting[me] = self._predicting.get(me, 0) + 1
        try:
            yield
        finally:
            with self._turn:
                self._predicting[me] -= 1
                if not self._predicting[me]:
                    del self._predicting[me]
                    self._turn.notify_all()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Within: nobody else changes the network, though others predict with it."""
        me = threading.get_ident()
        with self._turn:
            self._turn.wait_for(lambda: self._holder in (None, me))
            self._holder = me
            self._n_held += 1
        try:
            yield
        finally:
            with self._turn:
                self._n_held -= 1
                if not self._n_held:
                    self._holder = None
                    self._turn.notify_all()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Within: nobody else changes the network or predicts with it."""
        me = threading.get_ident()
        with self.holding():
            with self._turn:
                self._n_waiting += 1
                try:
                    self._turn.wait_for(lambda: not self._predicting.keys() - {me})
                finally:
                    self._n_waiting -= 1
                self._n_changing += 1
            try:
                yield
            finally:
                with self._turn:
                    self._n_changing -= 1
                    self._turn.notify_all()

    def before_fork(self) -> None:
        """Wait for a change by another thread, and let none begin."""
        self._turn.acquire()
        self._turn.wait_for(lambda: not self._n_changing or self._holder == threading.get_ident())

    def after_fork(self, *, in_child: bool) -> None:
        """Let others go on; in the child there are none."""
        if in_child:
            me = threading.get_ident()
            self._predicting = {me: self._predicting[me]} if me in self._predicting else {}
            self._n_waiting = 0
            if self._holder != me:
                self._holder, self._n_held, self._n_changing = None, 0, 0
        self._turn.release()
        if in_child:
            # The old one remembers threads that wait for it.
            self._turn = threading.Condition(threading.Lock())


class Locked(Protocol):
    """An object whose methods take a lock on its network."""

    lock: NetworkLock


def changes_network(method: Callable[Concatenate[Owner, P], R]) -> Callable[Concatenate[Owner, P], R]:
    """Let a method of an object that has a `lock: NetworkLock` run alone."""

    @wraps(method)
    def alone(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the method while nobody else uses the network."""
        with self.lock.changing():
            return method(self, *args, **kwargs)

    return alone


def reads_network(method: Callable[Concatenate[Owner, P], R]) -> Callable[Concatenate[Owner, P], R]:
    """Let a method of an object that has a `lock: NetworkLock` run while nobody changes the network."""

    @wraps(method)
    def undisturbed(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the method while nobody changes the network."""
        with self.lock.predicting():
            return method(self, *args, **kwargs)

    return undisturbed


def _before() -> None:
    _registering.acquire()
    for lock in sorted(_all, key=lambda one: one.level):
        lock.before_fork()
        _held.append(lock)


def _after(*, in_child: bool) -> None:
    while _held:
        _held.pop().after_fork(in_child=in_child)
    _registering.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(in_child=False),
        after_in_child=lambda: _after(in_child=True),
    )
