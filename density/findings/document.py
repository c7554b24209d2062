"""All that was found in a corpus as plain data, in the schema ``density.findings/1``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from density.export import versions
from density.findings.claims import claims
from density.findings.data import Part, Tables, command, load_tables, with_frequencies
from density.findings.figures import Figure, figures
from density.findings.verdicts import Check, Claim
from density.frequency import Frequencies, frequencies, parse_languages
from density.models.errors import UnknownModel
from density.models.loading import open_tokenizer
from density.statistics import LEVEL, RESAMPLES, Estimate, share

FINDINGS_SCHEMA = "density.findings/1"
# What frequencies and intervals are made with.
STATISTICS = {name: version(name) for name in ("wordfreq", "scipy", "numpy", "pandas")}
CAVEAT = (
    "Every interval is at 95% and stands alone: of a hundred true statements about five would miss. A verdict is about "
    "these models on these texts, no others."
)


@dataclass(frozen=True)
class Findings:
    """What a corpus says.

    Attributes:
        tables: It was read from.
        claims: With their verdicts.
        figures: In the order of a page.
        agreement: Share of the predictions searched and swept whose two brackets overlap; ``None`` without any.
    """

    tables: Tables
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...]
    agreement: Estimate | None

    def document(self) -> dict[str, Any]:
        """As plain data."""
        labels = self.tables.labels()
        return {
            "schema": FINDINGS_SCHEMA,
            "versions": {**versions(), **STATISTICS},
            "fidelity": self.tables.fidelity,
            "languages": self.tables.languages,
            "only_added_tokens": self.tables.blind,
            "datasets": [part_json(part) for part in self.tables.parts],
            "models": [{"name": name, "label": labels[name]} for name in self.tables.models],
            "intervals": {"level": LEVEL, "resamples": RESAMPLES, "caveat": CAVEAT},
            "claims": [claim_json(claim, labels) for claim in self.claims],
            "search_and_sweep_agree": self.agreement and estimate_json(self.agreement),
        }


def find(folders: Sequence[Path], languages: str = "en") -> Findings:
    """What the datasets in ``folders`` say.

    Args:
        languages: Whose frequencies of tokens, as `density.frequency.parse_languages` takes them.

    Raises:
        BadInput: See `density.findings.data.load_tables`; a language there are no frequencies of.
    """
    parse_languages(languages)
    tables = load_tables(folders)

    def frequencies_of(model: str, revision: str) -> Frequencies:
        tokenizer, here = open_tokenizer(model)
        if here != revision:
            raise UnknownModel(f"{model} means other weights on this machine than in the dataset")
        return frequencies(tokenizer, languages)

    return assess(with_frequencies(tables, frequencies_of, languages))


def assess(tables: Tables) -> Findings:
    """What tables say."""
    found = claims(tables)
    both = tables.both
    agreement = share(both["agree"].to_numpy(), both["group"].tolist()) if len(both) else None
    return Findings(tables, found, tuple(figures(tables, found)), agreement)


def part_json(part: Part) -> dict[str, Any]:
    """A dataset: how it was made, and what there is of it."""
    counts = {name: getattr(part, name) for name in ("finished", "predictions", "failed")}
    return {
        "name": part.name,
        "command": command(part.name, part.settings),
        "whole": part.whole,
        **counts,
        "settings": part.settings,
    }


def claim_json(claim: Claim, labels: Mapping[str, str]) -> dict[str, Any]:
    """A claim and its checks."""
    return {
        **{name: getattr(claim, name) for name in ("name", "words", "source", "rule", "headline")},
        "checks": [check_json(check, labels) for check in claim.checks],
    }


def check_json(check: Check, labels: Mapping[str, str]) -> dict[str, Any]:
    """A check; its numbers are null where there are none."""
    return {
        "model": " and ".join(labels[name] for name in check.models),
        "what": check.words,
        "unit": check.unit.value,
        "claimed": "above" if check.above else "below",
        "bound": check.bound,
        "verdict": check.verdict.value,
        "sentence": check.sentence,
        **estimate_json(check.estimate or Estimate(None, None, None, 0, 0)),
    }


def estimate_json(found: Estimate) -> dict[str, Any]:
    """A number with its interval."""
    return {"value": found.value, "low": found.low, "high": found.high, "predictions": found.n, "texts": found.groups}
