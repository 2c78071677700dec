"""`spacy-transfer.AudioFeatures.v1`."""

from typing import Literal

from thinc.api import Model

from ..layer import check_lr_factor
from .layer import make_media_features
from .settings import MediaSettings


def make_audio_features(
    encoder: str,
    *,
    attribute: str = "_.audio",
    frozen_depth: int | Literal["all"] = "all",
    pooling: Literal["auto", "mean", "max"] = "auto",
    max_seconds: float = 30.0,
    lr_factor: float = 1.0,
    missing: Literal["learned", "error"] = "learned",
    unreadable: Literal["error", "skip"] = "error",
    folder: str = "",
    memory: int = 1_000_000_000,
) -> Model:
    """`spacy-transfer.AudioFeatures.v1`: a sound of each document through a pretrained audio encoder.

    The attribute holds a path, the bytes of a file, an array (n_samples,) or (n_samples, n_channels), a list of such an
    array and its sampling rate, or None. Channels are averaged; another sampling rate than the encoder's is changed to
    it, and said. Vectors get the mean 0 and the deviation 1 of training documents. Those of frozen encoders are kept by
    the content of the file. A tuned encoder computes as in evaluation, without dropout and without masking.

    encoder (str): Folder of a wav2vec2, HuBERT or Whisper of transformers: config.json, safetensors and
        preprocessor_config.json. Only read by `initialize`; a saved pipeline never looks at it again.
    attribute (str): As "_.audio" or "audio".
    frozen_depth (int | "all"): Everything at depth <= frozen_depth keeps its weights: -1 freezes nothing, 0 what makes
        frames, 1..L also the lowest layers, "all" the whole encoder.
    pooling (str): "mean" or "max" over the frames of the sound; "auto" is "mean".
    max_seconds (float): What is read of a sound, from its beginning; of Whisper at most its window, 30 s. At most 600.
    lr_factor (float): Factor on the learning rate of what is tuned, and of the vector for no sound.
    missing (str): Where there is no sound: "learned" is a vector that is learned, "error" stops.
    unreadable (str): Where a sound cannot be read: "error" stops, "skip" takes it for missing, and says so.
    folder (str): Where relative paths start. Empty: in the folder of the file that the documents are read from, by
        `spacy-transfer.Corpus.v1` and the commands; elsewhere in the current folder.
    memory (int): Bytes of vectors of a frozen encoder that are kept; 0 keeps none.
    RETURNS (Model[list[Doc], Floats2d]): As wide as the encoder.
    RAISES (ValueError): T005 for a value out of range. At initialization what is wrong with the encoder, T061, T840,
        T844 to T846; T842 where no document has a sound; T841 and T848 for what cannot be read.
    RAISES (ImportError): T081 without soundfile or SciPy, where a sound is read.
    """
    settings = MediaSettings(
        "audio", encoder, attribute.removeprefix("_."), frozen_depth, pooling, missing, unreadable, folder, memory,
        float(max_seconds),
    )  # fmt: skip
    return make_media_features(settings, check_lr_factor(lr_factor))
