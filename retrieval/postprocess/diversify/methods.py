"""Methods by their names."""

from dataclasses import dataclass
from typing import Literal, get_args

from indexing.arrays import Vectors
from indexing.errors import InputError
from retrieval.models.features.attribute_values import Attribute
from retrieval.models.user_model import UserModel
from retrieval.postprocess.diversify.calibration import Calibrated
from retrieval.postprocess.diversify.greedy import Objective, Relevant
from retrieval.postprocess.diversify.mmr import MMR, MSD

Method = Literal["mmr", "msd", "calibrated", "caps"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, eq=False)
class DiversityContext:
    """The data that methods of diversity read.

    Attributes:
        vectors: (N, D) float32, the content of the items.
        centre: (D,) float32, its mean.
        users: Weighs a history.
        attribute: Compared in place of content, if it is not None.
    """

    vectors: Vectors
    centre: Vectors
    users: UserModel
    attribute: Attribute | None = None


def objective(method: Method, known: DiversityContext, strength: float, sharpness: float) -> Objective:
    """Make a method by its name.

    Raises:
        InputError: When there is none of that name, or calibration has no attribute.
    """
    features, centre = (known.vectors, known.centre) if known.attribute is None else (known.attribute, None)
    match method:
        case "mmr":
            return MMR(features, strength, sharpness, centre)
        case "msd":
            return MSD(features, strength, sharpness, centre)
        case "calibrated" if known.attribute is not None:
            return Calibrated(known.attribute, strength, sharpness, known.users)
        case "calibrated":
            raise InputError(
                "a list is calibrated to an attribute of the history",
                python="name it: attribute='genres'",
                cli="name it in the file of --postprocess: diversify.attribute",
                http='name it: "attribute": "genres"',
            )
        case "caps":
            return Relevant()
        case _:
            raise InputError(f"there is no method {method!r}; there are {list(METHODS)}")
