"""The one error family of the build half. Facts as attributes; only ``cli`` prints them and exits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .install_release.errors import Problem

__all__ = [
    "AbsentError",
    "ArtifactError",
    "BuildError",
    "ChecksumError",
    "ClockError",
    "CredentialsError",
    "DamagedLayerError",
    "DeniedError",
    "DeployError",
    "EnvError",
    "HostKeyError",
    "HostRefusedError",
    "LockError",
    "LoginError",
    "LostError",
    "MovedError",
    "NoPythonError",
    "NoRootError",
    "NoStoreError",
    "OccupiedError",
    "Problem",
    "RecipeError",
    "SigningError",
    "SourceError",
    "StepError",
    "StoreError",
    "TargetError",
    "UnreachableError",
    "UnreachableHostError",
    "UsageError",
    "WheelhouseError",
]


class BuildError(Exception):
    """Refused or failed, with nothing left behind. ``status`` is the exit status; ``problems`` are all reasons of one check;
    ``facts``: what else a program wants to know."""

    status = 3

    def __init__(self, message: str, problems: Iterable[Problem] = (), *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.problems = tuple(problems)
        self.next_step = next_step
        self.facts: Mapping[str, Any] = {}


class UsageError(BuildError):
    """The command line makes no sense."""

    status = 2


class RecipeError(BuildError):
    """The recipe is not what recipes/example.toml says it can be."""


class SourceError(BuildError):
    """The commit can't be exported, or holds what must not be packed."""


class TargetError(BuildError):
    """The target interpreter can't be found or asked."""


class LockError(BuildError):
    """The lock is missing, stale, unreadable, or doesn't cover the target."""


class WheelhouseError(BuildError):
    """A distribution can't be downloaded, built or trusted."""


class EnvError(BuildError):
    """The wheels don't make one environment."""


class StepError(BuildError):
    """A build step failed."""


class SigningError(BuildError):
    """A signature can't be made."""


class ArtifactError(BuildError):
    """An artifact breaks a law of docs/format.md."""


class DamagedLayerError(ArtifactError):
    """The layer named ``layer`` is not what was made, or can't be read. It went from the cache, if it was there: packed again, it is made again."""

    def __init__(self, layer: str, cached: bool, what: str) -> None:
        super().__init__("a cached layer was damaged", [Problem(layer, what, "It was removed: build again.")])
        self.layer, self.cached = layer, cached


class StoreError(BuildError):
    """The store can't be reached, or says no."""


class NoStoreError(StoreError):
    """There is no such bucket or directory."""


class DeniedError(StoreError):
    """The store knows who asks, and does not allow it."""


class CredentialsError(StoreError):
    """There are no credentials, or the store does not take them."""


class ClockError(StoreError):
    """The time here and that of the store differ by more than the store allows."""


class UnreachableError(StoreError):
    """Nothing answers, or not to the end, for as long as was waited."""


class ChecksumError(StoreError):
    """Bytes are not those that were sent, or that were stated."""


class AbsentError(StoreError):
    """The store holds no such release or channel."""


class OccupiedError(StoreError):
    """Other bytes are there under the same id: what was published is never replaced."""


class MovedError(StoreError):
    """Somebody else was faster: what was read is no longer so."""


class DeployError(BuildError):
    """A host does not have the release. ``status`` is that of its installer, where that was asked."""


class HostKeyError(DeployError):
    """The host is unknown, or another one than is known."""


class LoginError(DeployError):
    """The host does not let us in."""


class UnreachableHostError(DeployError):
    """The host does not answer, or not as ssh does."""


class NoRootError(DeployError):
    """The release root can't be made or changed by the user that logs in."""


class NoPythonError(DeployError):
    """The host has no Python that could run the installer."""


class LostError(DeployError):
    """The connection ended before the installer did."""


class HostRefusedError(DeployError):
    """The installer on the host said no, or failed."""
