"""`spacy-transfer.ImageFeatures.v1`."""

from typing import Literal

from thinc.api import Model

from ..layer import check_lr_factor
from .layer import make_media_features
from .settings import MediaSettings


def make_image_features(
    encoder: str,
    *,
    attribute: str = "_.image",
    frozen_depth: int | Literal["all"] = "all",
    pooling: Literal["auto", "first", "mean"] = "auto",
    lr_factor: float = 1.0,
    missing: Literal["learned", "error"] = "learned",
    unreadable: Literal["error", "skip"] = "error",
    folder: str = "",
    memory: int = 1_000_000_000,
) -> Model:
    """`spacy-transfer.ImageFeatures.v1`: a picture of each document through a pretrained vision encoder.

    The attribute holds a path, the bytes of a file, an array (height, width, channels), or None. Vectors get the mean 0
    and the deviation 1 of training documents. Those of frozen encoders are kept by the content of the file. A tuned
    encoder computes as in evaluation: without dropout, with the stored statistics of batch normalization.

    encoder (str): Folder of a ViT, CLIP, DINOv2 or ResNet of transformers: config.json, safetensors and
        preprocessor_config.json. Only read by `initialize`; a saved pipeline never looks at it again.
    attribute (str): As "_.image" or "image".
    frozen_depth (int | "all"): Everything at depth <= frozen_depth keeps its weights: -1 freezes nothing, 0 what makes
        patches, 1..L also the lowest layers (stages of a ResNet), "all" the whole encoder.
    pooling (str): "first" is the state of the class position, "mean" the mean of the patches; "auto" is "first" where
        the encoder has it.
    lr_factor (float): Factor on the learning rate of what is tuned, and of the vector for no picture.
    missing (str): Where there is no picture: "learned" is a vector that is learned, "error" stops.
    unreadable (str): Where a picture cannot be read: "error" stops, "skip" takes it for missing, and says so.
    folder (str): Where relative paths start. Empty: in the folder of the file that the documents are read from, by
        `spacy-transfer.Corpus.v1` and the commands; elsewhere in the current folder.
    memory (int): Bytes of vectors of a frozen encoder that are kept; 0 keeps none.
    RETURNS (Model[list[Doc], Floats2d]): As wide as the encoder.
    RAISES (ValueError): T005 for a value out of range. At initialization what is wrong with the encoder, T061, T840,
        T844 to T846; T842 where no document has a picture; T841 and T848 for what cannot be read.
    RAISES (ImportError): T081 without Pillow, where a picture is read.
    """
    settings = MediaSettings(
        "image", encoder, attribute.removeprefix("_."), frozen_depth, pooling, missing, unreadable, folder, memory
    )
    return make_media_features(settings, check_lr_factor(lr_factor))
