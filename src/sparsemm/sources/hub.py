"""Asking the hub: what a revision holds (`resolve`), and its files, checked against the lock (`fetch`).

huggingface_hub does the work and reads HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE and HF_TOKEN as its users expect. Three
things are added: repository information is asked for again after 429 or 5xx, downloaded files are checked against
their checksums, and errors are one line.
"""

from __future__ import annotations

import fnmatch
import functools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sparsemm.errors import InputError
from sparsemm.sources.lock import LockedFile, Source, matches

_LOG = logging.getLogger(__name__)
_PAUSES_S = (1.0, 5.0, 20.0)  # before asking again
_BUSY = (408, 429, 500, 502, 503, 504)

Result = TypeVar("Result")


class UnknownSource(InputError):
    """The hub knows no such id, or no such revision of it."""


def resolve(kind: str, name: str, revision: str = "main") -> Source:
    """What a repository holds at a revision: commit, files, sizes, checksums. Nothing is downloaded but that.

    Args:
        kind: "model" or "dataset".
        name: the hub id, `owner/name`.
        revision: a branch, tag or commit.

    Raises:
        UnknownSource: for an unknown id or revision.
        InputError: for a gated repository without access, and a hub that cannot be reached.
    """
    from huggingface_hub import HfApi

    api: Any = HfApi()
    info = _asked(
        lambda: api.repo_info(name, repo_type=kind, revision=revision, files_metadata=True),
        kind,
        name,
        revision,
    )
    files = {}
    for each in info.siblings or []:
        lfs = each.lfs.sha256 if each.lfs else None
        files[each.rfilename] = LockedFile(int(each.size or 0), lfs, None if lfs else each.blob_id)
    return Source(kind, name, revision, str(info.sha), files, gated=bool(info.gated))


def fetch(source: Source, patterns: Sequence[str], folder: str | Path | None = None) -> Path:
    """The files of a locked source whose paths match a pattern, each with the checksum of the lock.

    What is there already with the right checksum is not asked for again, so that a fetch that was cut off goes on
    where it was, and one that is complete needs no network.

    Args:
        source: from the lock file, or `resolve`.
        patterns: shell patterns of paths in the repository, such as `DocVQA/validation-*.parquet`.
        folder: where the files go, under their paths in the repository; None: the hub's own cache.

    Returns:
        The folder that holds the files: `folder`, or the snapshot in the cache.

    Raises:
        InputError: for a pattern without files, no access, a full disk, no network, and for files that the hub gives
            other than the lock says.
    """
    wanted: dict[str, LockedFile] = {}
    for pattern in patterns:
        found = {name: file for name, file in source.files.items() if fnmatch.fnmatch(name, pattern)}
        if not found:
            raise InputError(
                f"{source.id}: no file {pattern!r} at commit {source.commit[:12]}; correct the split or lock it anew"
            )
        wanted |= found
    missing = [name for name, file in wanted.items() if not matches(_place(source, name, folder), file)]
    for name in missing:
        _LOG.info("fetching %s %s, %s, %d bytes", source.kind, source.id, name, wanted[name].size)
        _fetch_file(source, name, wanted[name], folder)
    return _root(source, folder)


def check_access(source: Source) -> None:
    """Ask whether a gated repository's files may be read; what it holds can be seen without that.

    Raises:
        InputError: for a gated repository without access.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    if not source.files:
        return
    largest = max(source.files, key=lambda name: source.files[name].size)
    url = hf_hub_url(source.id, largest, repo_type=source.kind, revision=source.commit)
    _asked(lambda: get_hf_file_metadata(url), source.kind, source.id, source.revision)


def _fetch_file(source: Source, name: str, locked: LockedFile, folder: str | Path | None) -> None:
    from huggingface_hub import hf_hub_download

    place = _place(source, name, folder)
    for _ in range(2):  # wrong bytes of the right length are not noticed by the client: ask once more
        download = functools.partial(
            hf_hub_download,
            source.id,
            name,
            repo_type=source.kind,
            revision=source.commit,
            local_dir=folder,
            force_download=place.exists(),
        )
        _asked(download, source.kind, source.id, source.commit, _root(source, folder))
        if matches(place, locked):
            return
    raise InputError(
        f"{place}: not the {locked.size} bytes of {source.id} that the lock names; delete it and fetch again, or lock "
        "the source anew"
    )


def _root(source: Source, folder: str | Path | None) -> Path:
    if folder is not None:
        return Path(folder)
    from huggingface_hub.constants import HF_HUB_CACHE

    name = source.id.replace("/", "--")
    return Path(HF_HUB_CACHE) / f"{source.kind}s--{name}" / "snapshots" / source.commit


def _place(source: Source, name: str, folder: str | Path | None) -> Path:
    return _root(source, folder) / name


def _asked(
    ask: Callable[[], Result], kind: str, name: str, revision: str, folder: Path | None = None
) -> Result:
    """The hub's answer; asked again where it is busy, its errors as one line. `folder`: where it is stored."""
    import httpx2
    from huggingface_hub import errors

    for pause in (*_PAUSES_S, None):
        try:
            return ask()
        except errors.GatedRepoError as error:
            raise InputError(
                f"{kind} {name}: gated; accept its licence on the hub and set HF_TOKEN to a token that may read it"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise UnknownSource(
                f"{kind} {name}: has no revision {revision!r}; correct it, or lock it anew"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise UnknownSource(
                f"{kind} {name}: not on the hub, or not to be seen without a token; correct the id or set HF_TOKEN"
            ) from error
        except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
            status = _status(error.__cause__)
            if pause is None or status not in _BUSY:
                raise InputError(_unreachable(kind, name, status)) from error
        except errors.HfHubHTTPError as error:
            status = _status(error)
            if pause is None or status not in _BUSY:
                raise InputError(_unreachable(kind, name, status)) from error
        except (httpx2.HTTPError, ConnectionError, TimeoutError) as error:
            if pause is None:
                raise InputError(_unreachable(kind, name, None)) from error
        except OSError as error:
            if not error.strerror:
                raise
            raise InputError(
                f"{kind} {name}: cannot be stored in {folder} ({error.strerror}); make room there and run again"
            ) from error
        _LOG.info("%s %s: the hub is busy, asking again in %.0f s", kind, name, pause)
        time.sleep(pause)
    raise AssertionError("unreachable")


def _status(error: BaseException | None) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _unreachable(kind: str, name: str, status: int | None) -> str:
    if status == 401 or status == 403:
        return f"{kind} {name}: the hub refuses the token (status {status}); set HF_TOKEN to a valid one"
    why = "no answer" if status is None else f"status {status}"
    return f"{kind} {name}: the hub gave {why}; check the network, HF_ENDPOINT and HF_HUB_OFFLINE, then run again"
