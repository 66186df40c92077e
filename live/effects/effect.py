"""What every effect can do."""

from __future__ import annotations

from typing import Protocol

from models.arrays import F32


class Effect(Protocol):
    """An edit of the latent that can be switched on and off.

    ``edit`` runs on the thread that renders and ``toggle`` on the one that reads keys. Implementations keep
    what both touch in one attribute holding an immutable value, which only the second thread replaces.
    """

    @property
    def name(self) -> str:
        """What the user calls it, such as "smile" or, for one face, "2:smile"."""

    @property
    def label(self) -> str:
        """Name and setting for the screen, such as "smile +1.5"."""

    @property
    def place(self) -> int | None:
        """The place of the face it is for; None = every face."""

    @property
    def active(self) -> bool:
        """Whether it is switched on; it may still be gliding on or off."""

    def toggle(self, t: float) -> None:
        """Switch on or off at ``t`` seconds."""

    def edit(self, w_plus: F32, t: float) -> F32:
        """The latent as it is to look at ``t`` seconds; float32 [N, 18, 512] to the same."""
