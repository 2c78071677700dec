"""The state of a service: its pipelines, its keys, what it counts, and whether it is ready."""

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ...errors import T592, T592_LOADING, T592_STOPPING, T593, T593_WHICH, T595
from ...log import logger
from ...text_output import printable
from ..apply.options import Options
from .keys import is_among, read_keys
from .limits import ServiceLimits
from .messages.refusals import Refusal
from .metrics import Metrics
from .served import Loaded, Pipelines, Served, named


class Service:
    """Pipelines that answer requests.

    pipelines (Pipelines): Loaded by `load`, not before.
    options (Options): Which scores are given where a request does not say.
    limits (ServiceLimits): What a request may hold.
    api_key_file (Path | None): Its keys are read at once. None: everyone is let in.
    n_threads (int): Of torch; 0 leaves them as they are.
    RAISES (ValueError): T581 for names, T582 for keys.
    """

    def __init__(
        self, pipelines: Pipelines, options: Options, limits: ServiceLimits, api_key_file: Path | None, n_threads: int
    ) -> None:
        self.options, self.limits, self.metrics = options, limits, Metrics()
        self._key_file, self._n_threads = api_key_file, n_threads
        self._keys = None if api_key_file is None else read_keys(api_key_file)
        self.served: Mapping[str, Served] = {
            name: Served(name, given, options, limits, partial(self.metrics.scored, name))
            for name, given in named(pipelines).items()
        }
        self._one_reload = threading.Lock()
        # About to stop: what comes is still answered, and told to come no more.
        self.is_leaving = False
        self.is_closed = False

    # ---- life ----------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load all pipelines.

        RAISES: What `spacy.load` raises; ValueError with T527 for a pipeline without a spacy-transfer component, T006
            for one that was never trained, T396 where the word for no label is a label.
        """
        if self._n_threads:
            # An exported pipeline does not import it.
            import torch

            torch.set_num_threads(self._n_threads)
        for one in self.served.values():
            one.load()

    def reload(self) -> None:
        """Load pipelines and keys again. What fails stays as it is, and the log says so; no request is lost."""
        with self._one_reload:
            if self._key_file is not None:
                try:
                    self._keys = read_keys(self._key_file)
                except (OSError, ValueError) as error:
                    logger.error(T595.format(name=self._key_file, error=printable(error)))
            for one in self.served.values():
                if one.may_change and not self.is_leaving:
                    self._load_again(one)

    def _load_again(self, one: Served) -> None:
        try:
            one.load()
        except Exception as error:
            logger.error(T595.format(name=one.name, error=printable(error)))
            self.metrics.loaded_again(one.name, False)
        else:
            logger.info("%s: loaded again", one.name)
            self.metrics.loaded_again(one.name, True)

    def close(self) -> None:
        """Finish what was accepted, and stop."""
        self.is_leaving = self.is_closed = True
        for one in self.served.values():
            one.close()

    # ---- requests ------------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether all pipelines are warm, and the service is not about to stop."""
        return not self.is_leaving and all(one.loaded is not None for one in self.served.values())

    def require_ready(self) -> None:
        """Refuse while it is not.

        RAISES (Refusal): T592.
        """
        if not self.is_ready:
            state = T592_STOPPING if self.is_leaving else T592_LOADING
            raise Refusal(503, T592.format(state=state), headers={"Retry-After": "1"})

    @property
    def needs_key(self) -> bool:
        """Whether only those with a key are let in."""
        return self._keys is not None

    def lets_in(self, key: bytes) -> bool:
        """Check a key.

        key (bytes): As it was sent.
        """
        return self._keys is None or is_among(key, self._keys)

    def find(self, name: str | None) -> Served:
        """Find a pipeline.

        name (str | None): As the request calls it; None is the only one.
        RAISES (Refusal): T593 for a name that there is not, or where there are several and none is named.
        """
        names = ", ".join(self.served)
        if name is None:
            if len(self.served) == 1:
                return next(iter(self.served.values()))
            raise Refusal(400, T593_WHICH.format(names=names), field="pipeline")
        if name not in self.served:
            raise Refusal(404, T593.format(name=printable(name[:80]), names=names), field="pipeline")
        return self.served[name]

    def loaded(self, one: Served) -> Loaded:
        """The pipeline that is in use now.

        one (Served): By its name.
        RAISES (Refusal): T592 before it is loaded.
        """
        if one.loaded is None:
            raise Refusal(503, T592.format(state=T592_LOADING), headers={"Retry-After": "1"})
        return one.loaded
