"""How near a replay's next-token distribution is to the full model's (method: s-Trace, section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from density.errors import NotFinite

NUCLEUS_PERCENTS = (1, 5, 10, 20, 40, 60, 80, 90)


def in_float64(numbers: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same in float64, on their device unless it has none (Apple's MPS): then on the CPU."""
    return (numbers.cpu() if numbers.device.type == "mps" else numbers).double()


def probabilities(
    logits: Float[Tensor, "*rows vocab"], positions: Sequence[int] | None = None
) -> Float[Tensor, "*rows vocab"]:
    """Softmax, in float64 so that distances are good to float32's precision and beyond; where, see `in_float64`.

    Args:
        positions: The token of each row, for the message.

    Raises:
        NotFinite: A row holds NaN or an infinity.
    """
    found = in_float64(logits).softmax(-1)
    # One of them makes the whole row NaN.
    bad = found[..., :1].isnan().flatten()
    if bad.any():
        row = int(bad.nonzero()[0])
        where = f"row {row}" if positions is None else f"token {positions[row]}"
        raise NotFinite(
            f"the logits after the last layer at {where} are not finite; half precision can overflow: "
            "try precision float32."
        )
    return found


def total_variation(p: Float[Tensor, "*#rows vocab"], q: Float[Tensor, "*#rows vocab"]) -> Float[Tensor, "*rows"]:
    """Half the sum of absolute differences, in [0, 1]; fidelity is 1 minus this. Rows broadcast."""
    return ((p - q).abs().sum(-1) / 2).clamp(max=1)


def entropy(p: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """Shannon entropy in nats; a probability of 0 adds 0."""
    return torch.special.entr(p).sum(-1)


def kl_divergence(p: Float[Tensor, "*rows vocab"], q: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """``sum p log(p/q)`` in nats, ``+inf`` where ``q`` gives 0 to what ``p`` does not."""
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(-1).clamp(min=0)


def jensen_shannon(p: Float[Tensor, "*rows vocab"], q: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """Jensen-Shannon divergence in nats, in [0, ln 2]: mean KL divergence of ``p`` and ``q`` to their mean."""
    return (entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2).clamp(min=0)


def ranked(probs: Float[Tensor, " vocab"]) -> tuple[Int[Tensor, " vocab"], Float[Tensor, " vocab"]]:
    """All tokens, likeliest first, ties by token id; and the probability that each and those before it reach."""
    values, tokens = probs.sort(descending=True, stable=True)
    return tokens, values.cumsum(0)


def nucleus(tokens: Int[Tensor, " vocab"], reached: Float[Tensor, " vocab"], mass: float) -> Int[Tensor, " k"]:
    """The fewest of `ranked` tokens whose probabilities reach ``mass``.

    Raises:
        ValueError: If ``mass`` is not in (0, 1]; it is a share, not a percentage.
    """
    if not 0 < mass <= 1:
        raise ValueError(f"mass must be in (0, 1], got {mass}")
    return tokens[: int((reached < mass).sum()) + 1]


def nucleus_recovered(p: Float[Tensor, " vocab"], q: Float[Tensor, " vocab"]) -> int:
    """The largest k of `NUCLEUS_PERCENTS` whose top-k% nuclei are the same ordered list; 0 if none (s-Trace)."""
    ranked_p, ranked_q = ranked(p), ranked(q)
    same = [
        percent
        for percent in NUCLEUS_PERCENTS
        if torch.equal(nucleus(*ranked_p, percent / 100), nucleus(*ranked_q, percent / 100))
    ]
    return max(same, default=0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A replay's distribution against the full model's.

    Attributes:
        total_variation: In [0, 1].
        jensen_shannon: In nats, at most ln 2.
        kl_divergence: Of the replay from the full model, in nats.
        top_token_agrees: Whether the likeliest token is the same.
        nucleus_recovered: In percent, see `nucleus_recovered`.
    """

    total_variation: float
    jensen_shannon: float
    kl_divergence: float
    top_token_agrees: bool
    nucleus_recovered: int

    @property
    def fidelity(self) -> float:
        """1 - total variation."""
        return 1 - self.total_variation


def compare(full: Float[Tensor, " vocab"], replayed: Float[Tensor, " vocab"]) -> Comparison:
    """Compares two distributions over the vocabulary in every way we report."""
    return Comparison(
        total_variation=float(total_variation(full, replayed)),
        jensen_shannon=float(jensen_shannon(full, replayed)),
        kl_divergence=float(kl_divergence(full, replayed)),
        top_token_agrees=int(full.argmax()) == int(replayed.argmax()),
        nucleus_recovered=nucleus_recovered(full, replayed),
    )


def trapezoid(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The area under the polyline through the points, ``xs`` ascending."""
    return float(torch.trapezoid(torch.tensor(ys, dtype=torch.float64), torch.tensor(xs, dtype=torch.float64)))
