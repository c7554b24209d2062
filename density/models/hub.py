"""Models of the Hugging Face hub, through `huggingface_hub` and its cache: first the config, then weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from density.errors import DensityError, UnsupportedModel, first_line
from density.models.cache import FULL, disk_full, require_disk
from density.models.errors import DownloadFailed, UnknownModel
from density.models.folder import DESCRIPTIONS
from density.models.progress import Progress, unreported

SHARDS = ("model*.safetensors",)
SUBFOLDERS = "*/*"


def snapshot(
    repository: str,
    revision: str | None,
    *,
    online: bool,
    examine: Callable[[Path], object],
    progress: Progress,
) -> tuple[Path, str]:
    """The folder of a hub model's files in the hub's own cache, and its commit; downloaded if not there.

    Args:
        revision: Branch, tag or commit; ``None`` for the main branch.
        online: Whether the hub may be asked. If it cannot be reached, what is in its cache is used.
        examine: Called with the folder before it has any weights; what it raises ends the matter.

    Raises:
        UnknownModel: The hub has no such model or revision, or does not give it to this user.
        UnsupportedModel: No safetensors.
        DownloadFailed: Neither reachable nor in the cache, or interrupted.
        CacheUnavailable: Too little room on the disk, or none left.
    """
    with _explained(repository, revision, online):
        folder = _download(repository, revision, DESCRIPTIONS, online, unreported)
        examine(folder)
        commit = folder.name
        reachable = online and _room_for_weights(repository, commit)
        _download(repository, commit, SHARDS, reachable, progress)
    return folder, commit


def _download(
    repository: str, revision: str | None, patterns: tuple[str, ...], online: bool, progress: Progress
) -> Path:
    return Path(
        snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=SUBFOLDERS,
            local_files_only=not online,
            tqdm_class=_bar(progress),
        )
    )


def _room_for_weights(repository: str, commit: str) -> bool:
    """Checks that there are safetensors, and room for them; ``False`` if the hub cannot be reached."""
    try:
        files = snapshot_download(
            repository,
            revision=commit,
            allow_patterns=list(SHARDS),
            ignore_patterns=SUBFOLDERS,
            dry_run=True,
            tqdm_class=_bar(unreported),
        )
    except DryRunError:
        return False
    if not files:
        names = sorted(HfApi().list_repo_files(repository, revision=commit))
        raise UnsupportedModel(
            f"{repository} has no {SHARDS[0]} (it has {', '.join(names[:5])}). Only safetensors are read "
            "from the hub: a pickle can run code, and a GGUF file has to be downloaded and named by its path."
        )
    needed = sum(file.file_size or 0 for file in files if file.will_download)
    require_disk(needed, Path(constants.HF_HUB_CACHE), f"Downloading {repository}", setting="HF_HOME")
    return True


def _bar(progress: Progress) -> type[tqdm]:
    """A bar that draws nothing and reports bytes: of several that count the same, the one furthest on."""
    furthest = 0

    class Bar(tqdm):
        def display(self, *_: Any, **__: Any) -> bool:
            return True

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal furthest
            drawn = super().update(n)
            if self.unit == "B" and self.n > furthest:
                furthest = int(self.n)
                progress("download", furthest, int(self.total or 0))
            return drawn

    return Bar


@contextmanager
def _explained(name: str, revision: str | None, online: bool) -> Iterator[None]:
    """Turns what `huggingface_hub` raises, and whatever its transport does, into errors that say what to do."""
    try:
        yield
    except DensityError:
        raise
    except GatedRepoError as error:
        raise UnknownModel(
            f"{name} is only given to whoever accepted its terms: do so on its page, then: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise UnknownModel(f"the hub has no public model {name}; check the name.") from error
    except RevisionNotFoundError as error:
        raise UnknownModel(f"{name} has no branch, tag or commit {revision!r} on the hub.") from error
    except LocalEntryNotFoundError as error:
        reason = "the hub cannot be reached" if online else "the hub was not to be asked"
        raise DownloadFailed(
            f"{reason} and {name} is not in its local cache, {constants.HF_HUB_CACHE}. Connect and run the "
            "same again, or choose a model of the catalogue (python -m density models)."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise disk_full(Path(constants.HF_HUB_CACHE), "HF_HOME") from error
        raise DownloadFailed(f"downloading {name} failed ({first_line(error)}); run the same again.") from error
