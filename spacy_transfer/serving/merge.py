"""Merges adapters into plain weights, so that the pipeline no longer needs peft."""

from pathlib import Path

from spacy.language import Language

from ..errors import T162, T163
from ..files import hold_place, new_folder, refuse_same
from ..pipeline.components import classifiers_of
from ..pipeline.loading import load_pipeline


def merge(pipeline: str | Path, output: Path, *, force: bool = False) -> dict[str, int]:
    """Load a pipeline, merge the adapters of all our components, write it to another folder.

    pipeline (str | Path): Folder or package. One that was saved with `save = "adapter"` becomes whole again.
    output (Path): Folder to write; whole or not there.
    force (bool): Replace what is there.
    RETURNS (dict[str, int]): Per component with an adapter, how many weights that had.
    RAISES (ValueError): T162 if there is no adapter, T373 if the output is the pipeline.
    RAISES (FileExistsError): T163 if output exists.
    RAISES (OSError): T370 while another command writes it.
    """
    if output.exists() and not (force and output.is_dir()):
        raise FileExistsError(T163.format(path=output))
    refuse_same([output], [Path(pipeline)])
    with hold_place(output):
        return _merge(pipeline, output)


def _merge(pipeline: str | Path, output: Path) -> dict[str, int]:
    nlp = load_pipeline(pipeline)
    if not (done := merge_adapters(nlp)):
        raise ValueError(T162.format(pipeline=pipeline, components=", ".join(nlp.component_names) or "none"))
    with new_folder(output, sync=True) as part:
        nlp.to_disk(part)
    return done


def merge_adapters(nlp: Language) -> dict[str, int]:
    """Merge the adapters of all our components, in place, and take them out of the pipeline's config.

    RETURNS (dict[str, int]): Per component with an adapter, how many weights that had.
    """
    done: dict[str, int] = {}
    for name, classifier in classifiers_of(nlp).items():
        if n_weights := classifier.merge_adapter():
            done[name] = n_weights
            nlp.get_pipe_config(name)["model"]["tuning"]["adapter"] = None
    return done
