"""Follow faces through the frames, know them again, and steady their landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from live.faces.identity import Sighting, crowded, recognise, sight, update
from live.faces.steady import LandmarkFilter, Steadied
from live.frame import FaceTrack, Frame
from models.closing import Closing
from models.face_windows import overlap
from models.landmarker import Detection, Landmarker

_LEAST_FACES = 3  # looked for even to follow one: to know the largest, and to hold on to the followed one
_DOUBLE = 0.5  # overlap of two finds above which they are one face
_MEMORY = 1.0  # seconds a face may be out of sight and come back as if it had never left
_KEPT = 10.0  # seconds for which a place is kept for somebody while nobody else wants it
_PATIENCE_ALONE = 0.25  # seconds to wait for the one followed face before another in view is taken
_PROBATION = 0.2  # seconds after which a newcomer amid others is one, and no mixture of half-hidden faces
_PATIENCE = 1.0  # the same where several are followed: people pass behind each other


@dataclass
class _Person:
    """Somebody who is in view or was lately.

    Attributes:
        face: as last found.
        seen: where and how that was.
        clear: nobody is so near that one could hide part of the other.
        met: seconds, when they came into view for the first time.
        number: nobody else's.
        place: among the followed; None = a bystander.
        face_id: of the track; None = there is none yet, or it is too long ago.
        steadied: the landmark filter's memory; None = as above, or just come into view.
    """

    face: Detection
    seen: Sighting
    clear: bool
    met: float
    number: int
    place: int | None = None
    face_id: int | None = None
    steadied: Steadied | None = None


class FaceTracker(Closing):
    """Follows the largest faces; once chosen, they stay the ones while they are in view.

    Each keeps its place when it crosses another, is hidden for a moment, or leaves and comes back while nobody
    else wants it. Bystanders are known too, so that nobody is mistaken for one.

    A context manager, for one thread at a time.

    Args:
        model: MediaPipe's ``face_landmarker.task``.
        fps: frame rate of a recording, whose time is counted by its frames. None = live: frames were captured
            when they say.
        smoothing: the landmark filter.
        max_faces: follow so many at most.
    """

    def __init__(
        self,
        model: Path,
        *,
        fps: float | None = None,
        smoothing: LandmarkFilter | None = None,
        max_faces: int = 1,
    ) -> None:
        # One more than are followed, or a bystander could keep MediaPipe from finding who comes back.
        self._landmarker = Landmarker(model, video=True, max_faces=max(_LEAST_FACES, max_faces + 1))
        self._fps = fps
        self._filter = smoothing or LandmarkFilter()
        self._places = range(max_faces)
        self._patience = _PATIENCE if max_faces > 1 else _PATIENCE_ALONE
        self._face_ids = count()
        self._numbers = count()
        self._people: list[_Person] = []

    def close(self) -> None:
        """Release MediaPipe."""
        self._landmarker.close()

    def track(self, frame: Frame) -> tuple[FaceTrack, ...]:
        """The followed faces in the next frame, by place; empty = none is there."""
        t = frame.captured if self._fps is None else frame.seq / self._fps
        present, away = self._recognise(frame, t)
        self._seat(present, away, t)
        self._people = [*present, *away]
        places = {person.place: person for person in present}
        return tuple(self._follow(places[place], place) for place in self._places if place in places)

    def _recognise(self, frame: Frame, t: float) -> tuple[list[_Person], list[_Person]]:
        """Those in the frame, largest first, and those who are not, nor forgotten yet."""
        faces = _without_doubles(self._landmarker.detect(frame.rgb, round(t * 1000)))
        seen = [sight(frame.rgb, face.landmarks, t) for face in faces]
        who = recognise([person.seen for person in self._people], seen)
        away = [person for i, person in enumerate(self._people) if i not in who]
        around = [*seen, *(person.seen for person in away if t - person.seen.t < _MEMORY)]
        present = []
        for face, sighting, i in zip(faces, seen, who, strict=True):
            clear = not any(crowded(sighting, other) for other in around if other is not sighting)
            if i is None:
                present.append(_Person(face, sighting, clear, met=t, number=next(self._numbers)))
                continue
            person = self._people[i]
            if t - person.seen.t >= _MEMORY:
                person.face_id = None
            person.face, person.seen = face, update(person.seen, sighting, clear=clear and person.clear)
            person.clear = clear
            present.append(person)
        for person in away:
            person.steadied = None
        return present, [p for p in away if t - p.seen.t < (_MEMORY if p.place is None else _KEPT)]

    def _seat(self, present: Sequence[_Person], away: Sequence[_Person], t: float) -> None:
        """Give places to the largest who have none, from left to right: free ones, then those of who is gone."""
        another_scene = all(person.met == t for person in present)
        patience = 0.0 if another_scene else self._patience
        held = {person.place for person in (*present, *away)}
        gone = sorted((p.seen.t, p.place) for p in away if p.place is not None and t - p.seen.t > patience)
        places = [*(place for place in self._places if place not in held), *(place for _, place in gone)]
        waiting = [p for p in present if p.place is None and (p.clear or another_scene or t - p.met > _PROBATION)]
        waiting = waiting[: len(places)]
        places = sorted(places[: len(waiting)])
        for person in away:
            if person.place in places:
                person.place = person.face_id = None
        for person, place in zip(sorted(waiting, key=lambda p: float(p.seen.centre[0])), places, strict=True):
            person.place = place

    def _follow(self, person: _Person, place: int) -> FaceTrack:
        if person.face_id is None:
            person.face_id = next(self._face_ids)
        face = person.face
        person.steadied = self._filter.steady(face.landmarks, person.seen.t, person.steadied)
        return FaceTrack(
            landmarks=person.steadied.points,
            blendshapes=face.blendshapes,
            pose=face.pose,
            face_id=person.face_id,
            score=face.score,
            place=place,
            person=person.number,
        )


def _without_doubles(faces: Sequence[Detection]) -> list[Detection]:
    """MediaPipe may for a frame find a face twice, when it has just come into view again."""
    kept: list[Detection] = []
    for face in faces:
        if all(overlap(face.landmarks, other.landmarks) < _DOUBLE for other in kept):
            kept.append(face)
    return kept
