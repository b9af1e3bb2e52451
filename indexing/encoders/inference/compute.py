"""How an encoder computes: number format, device, and whether its towers are compiled."""

from dataclasses import dataclass

from indexing.errors import EncoderError
from indexing.runtime.arguments import check_flag, check_kind
from indexing.runtime.device import AUTO, check_device

EXACT = "float32"
WITHOUT_COMPILE = {"python": "leave compile out", "cli": "leave --compile out"}
"""What to do where an encoder cannot be compiled."""


@dataclass(frozen=True)
class Compute:
    """How an encoder computes; `load_encoder` has the meaning of each field.

    Attributes:
        precision: ``"auto"`` or a number format.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        compile: Whether torch compiles the towers.
    """

    precision: str = AUTO
    device: str = AUTO
    compile: bool = False

    def __post_init__(self) -> None:
        check_kind(self.precision, str, "precision", "give one as text, as 'auto'")
        check_device(self.device, auto=True)
        check_flag(self.compile, "compile")

    def refuse_compile(self, name: str) -> None:
        """Refuse to compile an encoder that is not made for it.

        Raises:
            EncoderError: When it was asked for.
        """
        if self.compile:
            raise EncoderError(f"encoder {name!r} cannot be compiled, only open_clip: and hf: can", **WITHOUT_COMPILE)

    def refuse_gpu(self, name: str, why: str) -> None:
        """Refuse a GPU for an encoder that computes without one.

        Raises:
            EncoderError: When one was asked for.
        """
        if self.device.startswith("cuda"):
            raise EncoderError(
                f"device={self.device!r} was asked for, but encoder {name!r} {why}",
                python="give device='cpu' or 'auto'",
                cli="give --device cpu or auto",
            )
