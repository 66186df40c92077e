"""Inverts faces, generated ones and photographs, edits them, and measures what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from export.direction_recipes import RECIPES
from export.fidelity import Fidelity, Sample, compare
from export.measure import IdentityMeter, Measures, Meter, identity_distance
from export.photographs import read_photo
from models import latent
from models.alignment import crop, to_crop_matrix, to_rgb, to_tensor
from models.arrays import F32, U8
from models.directions import Direction
from models.errors import UserError

SIZE = 256  # side of the pictures compared


class Encoder(Protocol):
    """Aligned crop -> W+."""

    @property
    def size(self) -> int:
        """Side in pixels of the crop it takes."""

    def encode(self, image: F32, landmarks: F32) -> F32:
        """Crop [1, 3, S, S] in [-1, 1], landmarks [1, 478, 2] in [0, 1] -> W+ [1, 18, 512]."""


class Generator(Protocol):
    """W+ -> picture."""

    def synthesize(self, w_plus: F32) -> F32:
        """W+ [1, 18, 512] -> RGB [1, 3, R, R], about [-1, 1]."""


@dataclass(frozen=True)
class Case:
    """One face to invert.

    Attributes:
        name: of the photograph or the sample.
        rgb: uint8 [SIZE, SIZE, 3], aligned.
        image: float32 [1, 3, S, S], the encoder's input.
        w_plus: float32 [18, 512], where it is known.
    """

    name: str
    rgb: U8
    image: F32
    w_plus: F32 | None = None


@dataclass
class Results:
    """What has been measured of one set of faces.

    Attributes:
        rows: input against reconstruction, a face each.
        truth: float32 [18, 512] latents, where they are known.
        estimate: float32 [18, 512] latents, of every face.
        edited_identity: distances from the input to the edited face, by edit.
        edited_change: change of the edit's own attribute against the reconstruction, by edit.
        true_change: of the same faces, where the true latent is edited, not the estimate: what could have been.
        pictures: rows of the contact sheet.
        lost: names of the faces in which, or in whose reconstruction, no face was found.
    """

    rows: list[Fidelity] = field(default_factory=list)
    truth: list[F32] = field(default_factory=list)
    estimate: list[F32] = field(default_factory=list)
    edited_identity: dict[str, list[float]] = field(default_factory=dict)
    edited_change: dict[str, list[float]] = field(default_factory=dict)
    true_change: dict[str, list[float]] = field(default_factory=dict)
    pictures: list[list[U8]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Edit:
    """An edit that is measured on the reconstructions."""

    direction: Direction
    strength: float

    @property
    def caption(self) -> str:
        """Name and strength, as on the command line of the live application."""
        return f"{self.direction.name}={self.strength:+g}"

    def attribute(self, before: Measures) -> str | None:
        """What it is to change of a face; None where that shows nothing.

        A face that smiles does not show what a smile adds; of a direction that is none of `RECIPES`, nobody knows
        what it is for.
        """
        recipe = RECIPES.get(self.direction.name)
        if recipe is None or not recipe.start[0] <= before.attribute(recipe.attribute) <= recipe.start[1]:
            return None
        return recipe.attribute


class Bench:
    """The networks that take part.

    Args:
        encoder: under test.
        generator: 256 px.
        meter: measures pictures.
        edits: applied to each reconstruction.
    """

    def __init__(self, encoder: Encoder, generator: Generator, meter: Meter, edits: Sequence[Edit] = ()) -> None:
        self._encoder = encoder
        self._generator = generator
        self._meter = meter
        self._identity = IdentityMeter()
        self._edits = edits

    def generated(self, w_plus: F32) -> Iterator[Case]:
        """The faces of latents [N, 18, 512]."""
        for i, face in enumerate(w_plus):
            rgb = to_rgb(self._generator.synthesize(face[None]))
            size = self._encoder.size
            small = np.asarray(cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
            yield Case(f"sample {i}", rgb, to_tensor(small), face)

    def photographs(self, paths: Sequence[Path], lost: list[str]) -> Iterator[Case]:
        """The largest face of each photograph; names of those without one, or that are none, go to `lost`."""
        for path in paths:
            try:
                photo = read_photo(path)
            except UserError:
                lost.append(path.name)
                continue
            measures = self._meter.measure(photo)
            if measures is None:
                lost.append(path.name)
                continue
            landmarks, size = measures.detection.landmarks, self._encoder.size
            rgb = crop(photo, to_crop_matrix(landmarks, SIZE), SIZE)
            small = crop(photo, to_crop_matrix(landmarks, size), size)
            yield Case(path.name, rgb, to_tensor(small))

    def run(self, cases: Iterator[Case], results: Results) -> Results:
        """Inverts, edits and measures every case."""
        for case in cases:
            before = self._sample(case.rgb)
            if before is None:
                results.lost.append(case.name)
                continue
            # Landmarks in [0, 1] run from edge to edge of the crop, pixel centres at half steps.
            landmarks = (before.measures.detection.landmarks + np.float32(0.5)) / np.float32(SIZE)
            estimate = self._encoder.encode(case.image, landmarks[None])
            after = self._sample(to_rgb(self._generator.synthesize(estimate)))
            if after is None:
                results.lost.append(case.name)
                continue
            results.rows.append(compare(before, after))
            results.estimate.append(estimate[0])
            pictures = [before.rgb, after.rgb]
            pictures += [self._edited(edit, estimate, before, after, case.w_plus, results) for edit in self._edits]
            if case.w_plus is not None:
                results.truth.append(case.w_plus)
            results.pictures.append(pictures)
        return results

    def _sample(self, rgb: U8) -> Sample | None:
        measures = self._meter.measure(rgb)
        if measures is None:
            return None
        return Sample(rgb, measures, self._identity.embed(rgb, measures.detection.landmarks))

    def _edited(
        self, edit: Edit, estimate: F32, before: Sample, after: Sample, truth: F32 | None, results: Results
    ) -> U8:
        rgb = self._moved(edit, estimate)
        sample = self._sample(rgb)
        if sample is None:
            results.lost.append(edit.caption)
            return rgb
        distance = identity_distance(before.identity, sample.identity)
        results.edited_identity.setdefault(edit.caption, []).append(distance)
        name = edit.attribute(before.measures)
        if name is None:
            return rgb
        if truth is not None:
            measures = self._meter.measure(self._moved(edit, truth[None]))
            if measures is None:
                return rgb
            change = measures.attribute(name) - before.measures.attribute(name)
            results.true_change.setdefault(edit.caption, []).append(change)
        change = sample.measures.attribute(name) - after.measures.attribute(name)
        results.edited_change.setdefault(edit.caption, []).append(change)
        return rgb

    def _moved(self, edit: Edit, w_plus: F32) -> U8:
        return to_rgb(self._generator.synthesize(latent.move(w_plus, edit.direction.vector, edit.strength)))
