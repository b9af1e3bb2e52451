"""What gives way where lower scores are not enough: the reranker, then behaviour to content, or the adapter."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from indexing.store.collect import ModalityVectors
from retrieval.candidates import Candidates
from retrieval.fitting.fitted_model import FittedModel
from retrieval.models.item_space import ItemSpace

Serve: TypeAlias = Callable[[FittedModel], Candidates]
Change: TypeAlias = Callable[[FittedModel, Serve], FittedModel]
CONTENT = (1.0, 2.0, 4.0, 8.0, 16.0)  # weights of a unit content taste; those of behaviour are around 1
STRENGTHS = (0.5, 0.25, 0.1)  # of an adapter


@dataclass(frozen=True)
class Softening:
    """One way of softening parts, toward the lists of frozen vectors.

    Attributes:
        name: What is changed, or "".
        soften: Changes any parts of the kind.
    """

    name: str = ""
    soften: Callable[[FittedModel], FittedModel] | None = None

    def of(self, parts: FittedModel) -> FittedModel:
        """Give softened parts."""
        return parts if self.soften is None else self.soften(parts)


def softenings(parts: FittedModel, frozen: ModalityVectors) -> list[Softening]:
    """Give what can be softened in parts, the least first.

    Args:
        parts: The parts.
        frozen: The frozen vectors of the items.
    """
    found = [] if parts.reranker is None else [Softening("the reranker is left out", without_reranker)]
    also = "the reranker is left out, and " if found else ""
    if parts.block is not None:
        higher = [weight for weight in CONTENT if weight > parts.block.behaviour.content]
        found += [Softening(f"{also}content has a weight of {it:g}", partial(with_content, weight=it)) for it in higher]
    elif parts.adapter is not None:
        found += [
            Softening(
                f"{also}the adapter has {strength:.0%} of its strength",
                partial(with_strength, strength=strength, frozen=frozen),
            )
            for strength in STRENGTHS
        ]
    return found


def without_reranker(parts: FittedModel) -> FittedModel:
    """Leave the reranker out."""
    return parts._replace(reranker=None)


def with_content(parts: FittedModel, weight: float) -> FittedModel:
    """Set the weight of content in the queries of a visit, without a reranker."""
    if parts.block is None:
        return parts
    behaviour = replace(parts.block.behaviour, content=weight)
    block = parts.block._replace(behaviour=behaviour, serving=parts.block.serving | {"content": weight})
    return parts._replace(reranker=None, block=block, space=replace(parts.space, behaviour=behaviour))


def with_strength(parts: FittedModel, strength: float, frozen: ModalityVectors) -> FittedModel:
    """Weaken the adapter, without a reranker."""
    if parts.adapter is None:
        return parts
    adapter = parts.adapter.with_strength(strength)
    space = ItemSpace.of(adapter.apply(frozen), parts.space.users)
    return parts._replace(reranker=None, adapter=adapter, space=space)
