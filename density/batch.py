"""Where the tokens of a batch of replays are: a row each of one tensor, and which of the rows are computed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from density.families.products import ROUND

ROW_SKIPPING_DEVICES = frozenset({"cpu"})


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the tokens of a batch are: a row each, group after group, item after item, up to the item's prediction.

    Attributes:
        shapes: Items and length of each group.
        positions: The position of each row.
        outputs: The row of each item's prediction.
        padded: The row at each place of the groups' (item, position); past an item's end, its last row.
        places: The place of each row among those.
    """

    shapes: tuple[tuple[int, int], ...]
    positions: Int[Tensor, " rows"]
    outputs: Int[Tensor, " items"]
    padded: Int[Tensor, " places"]
    places: Int[Tensor, " rows"]

    def groups(self, padded: Shaped[Tensor, " places *width"]) -> Iterator[Shaped[Tensor, "item position *width"]]:
        """``padded``, a view a group."""
        parts = padded.split([items * length for items, length in self.shapes])
        return (part.unflatten(0, shape) for part, shape in zip(parts, self.shapes, strict=True))

    def packed(self, masks: Iterable[Tensor]) -> Bool[Tensor, " rows *width"]:
        """A mask a group, of its items and positions, as one of all rows."""
        return torch.cat([mask.flatten(0, 1) for mask in masks]).index_select(0, self.places)


def lay_out(groups: Sequence[Sequence[int]], device: torch.device) -> Rows:
    """The rows of a batch whose groups have predictions at these positions."""
    shapes = tuple((len(group), max(group) + 1) for group in groups)
    last = torch.tensor([position for group in groups for position in group])
    outputs = (last + 1).cumsum(0) - 1
    padded, positions, inside, done = [], [], [], 0
    for items, length in shapes:
        some, at = slice(done, done + items), torch.arange(length).expand(items, length)
        ends = last[some, None]
        padded.append((outputs[some, None] - ends + torch.minimum(at, ends)).flatten())
        positions.append(at[at <= ends])
        inside.append((at <= ends).flatten())
        done += items
    places = torch.cat(inside).nonzero()[:, 0]
    laid = (torch.cat(positions), outputs, torch.cat(padded), places)
    return Rows(shapes, *(tensor.to(device) for tensor in laid))


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some rows.

    Attributes:
        mask: ``True`` for each of them.
        numbers: Which they are, the last again until there are a multiple of `ROUND`; ``None`` where all are computed
            and those not chosen left out afterwards.
        count: How many of ``numbers`` are not repeated.
    """

    mask: Bool[Tensor, " rows"]
    numbers: Int[Tensor, " computed"] | None
    count: int

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to compute."""
        return self.numbers is not None and self.count == 0

    def of(self, rows: Shaped[Tensor, " rows *width"]) -> Shaped[Tensor, " computed *width"]:
        """Those of ``rows`` that are computed."""
        return rows if self.numbers is None else rows.index_select(0, self.numbers)

    def back(self, otherwise: Int[Tensor, " #rows"] | int = 0, before: int = 0) -> Int[Tensor, " rows"]:
        """For each row its number among those computed, after ``before`` others; ``otherwise`` for the rest."""
        if self.numbers is None:
            return torch.arange(len(self.mask), device=self.mask.device)
        return torch.where(self.mask, self.mask.cumsum(0) + (before - 1), otherwise)

    def add(self, state: Float[Tensor, "rows d_model"], write: Float[Tensor, "computed d_model"]) -> None:
        """Adds to the chosen rows of ``state`` their ``write``."""
        if self.numbers is None:
            state.add_(write.masked_fill(~self.mask[:, None], 0))
        else:
            state.index_add_(0, self.numbers[: self.count], write[: self.count])


def choose(mask: Bool[Tensor, " rows"]) -> Chosen:
    """The rows at which ``mask`` is ``True``; found only where that does not make the device wait for the host."""
    if mask.device.type not in ROW_SKIPPING_DEVICES:
        return Chosen(mask, None, len(mask))
    numbers = mask.nonzero()[:, 0]
    count = len(numbers)
    return Chosen(mask, torch.cat((numbers, numbers[-1:].expand(-count % ROUND))), count)
