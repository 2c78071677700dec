"""What a run computes on, for its log, its result and the pipeline's meta.json."""

from spacy.language import Language

from ..json_types import JsonObject
from .state.pipeline_state import network_shims


def note_machine(nlp: Language) -> JsonObject:
    """Write into `nlp.meta` how the networks of a pipeline compute here.

    nlp (Language): Initialized.
    RETURNS (dict): By component: precision and why, device, model, threads, versions; JSON-able.
    RAISES (ValueError): T302 for a loaded component whose config names a device or precision that is not available.
    """
    found = {}
    for place, shim in network_shims(nlp).items():
        name = place.rsplit("/", 2)[0]
        shim.require_settings(name)
        found[name] = shim.computes_with
    nlp.meta["spacy_transfer"] = {**nlp.meta.get("spacy_transfer", {}), **found}
    return found


def machine_lines(machine: JsonObject) -> list[str]:
    """One line a component, to be read by people.

    machine (dict): As `note_machine` gives it.
    """
    return [f"{name}: {_said(facts)}" for name, facts in machine.items()]


def _said(facts: JsonObject) -> str:
    speeds = ", ".join(f"{name} {speed:g}" for name, speed in facts.get("gflops", {}).items())
    precision = facts.get("precision", "")
    measured = f" ({speeds} GFLOP/s)" if speeds else ""
    return f"{precision}{measured} on {facts['device']}, {facts['model']}, {facts['threads']} thread(s)".lstrip()
