"""The model writing on: each new token with the density of predicting it."""

from collections.abc import Callable, Iterator

import torch

from density.errors import BadInput
from density.profile import Prediction, TopToken, profile
from density.reading import Reading, extend, token_text


def generate(
    reading: Reading,
    count: int,
    fidelity: float = 0.8,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Prediction, TopToken]]:
    """Up to ``count`` tokens, each with the prediction it was chosen from; the end-of-text token is the last.

    Args:
        reading: The text to go on from; not changed.
        count: Most tokens.
        fidelity: Of the densities.
        temperature: 0 takes the likeliest token, ties by id; otherwise tokens are drawn from the model's distribution
            with its logits divided by this.
        seed: Of the draws.
        check: Called between replays; raise in it to stop.

    Raises:
        BadInput: A negative temperature or count, or a text that grows over what the model reads.
    """
    if not temperature >= 0 or count < 0:
        raise BadInput(f"temperature {temperature} and {count} tokens: both have to be 0 or more.")
    draws = torch.Generator().manual_seed(seed)
    tokenizer = reading.model.tokenizer
    for _ in range(count):
        (prediction,) = profile(reading, fidelity=fidelity, positions="last", check=check)
        chosen = choose(reading, prediction, temperature, draws)
        yield prediction, chosen
        if chosen.id == getattr(tokenizer, "eos_token_id", None):
            return
        check()
        reading = extend(reading, chosen.id)


def choose(reading: Reading, prediction: Prediction, temperature: float, draws: torch.Generator) -> TopToken:
    """The next token, with the probability the model gives it."""
    if temperature == 0:
        return prediction.top_tokens[0]
    probabilities = reading.full_probabilities([prediction.position])[0].cpu()
    weights = (probabilities.clamp(min=1e-300).log() / temperature).softmax(-1)
    token = int(torch.multinomial(weights, 1, generator=draws))
    return TopToken(token_text(reading.model.tokenizer, token), token, float(probabilities[token]))
