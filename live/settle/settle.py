"""Settles on whoever stays before the camera: learns in idle time what the encoder misses of them, and eases it in.

As enrolment does, but unasked, from the camera's own frames, one step at a time on a thread that takes only what
nobody else wants of the processor. What is learned belongs to the person and is forgotten with them.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from types import TracebackType

import numpy as np

from live.frame import FaceTrack, Frame
from live.priority import step_aside
from live.render.occlusion import Look, find_free
from live.settle.settling import Kept, Settled, Settling, add, approach, is_new, step
from models.arrays import F32
from models.errors import UserError
from models.face_windows import face_size
from models.inversion import Gradients, sharpness, view_of
from models.latent import distance, std_w
from models.zoo import GRADIENT_SIZE

LOOKS_SECONDS = 0.25  # between two looks at a face
CHOICE_SECONDS = 1.0  # the sharpest of the pictures of so long is kept
SHARP = 0.75  # of the sharpest view, for another one to be kept
FRONTAL = (30.0, 25.0)  # degrees of yaw and pitch: farther round the encoder's guess and the generator's faces end
INSIDE = 0.98  # share of the landmarks that must lie in the picture
FREE = 0.97  # share of the face that must be free of hands and cups
STEADY = 0.25  # face sizes a second: a faster face is blurred
REST = 0.02  # distance of a latent from what it was lately, within which nothing moves; 0.005 is a sensor's noise
LATELY = 0.4  # share of a new latent in that
LONGEST_SECONDS = 0.25  # that count between two pictures of a face
UNSEEN_SECONDS = 3.0  # without a picture, after which all may come at once
GONE_SECONDS = 1.0  # without a look, after which no step is taken for a person
PEOPLE = 8  # remembered
FORGET_SECONDS = 10.0  # after which the tracker knows nobody again
STOP_SECONDS = 5.0  # a step under way is waited for
WAIT_SECONDS = 0.25


class _Person:
    """Somebody before the camera."""

    def __init__(self) -> None:
        self.settling: Settling | None = None  # only the settling thread changes it
        self.candidate: Kept | None = None
        self.candidate_since = -math.inf
        self.looked = -math.inf  # seconds
        self.present_until = time.perf_counter() + GONE_SECONDS
        self.landmarks: F32 | None = None
        self.lately: F32 | None = None  # the encoder's latent
        self.look: Look | None = None
        self.room = False  # for a step, when last looked at
        self.shown: F32 | None = None
        self.shown_t = -math.inf


class Settler:
    """The thread "settle", between ``with`` and its end.

    `look` and `offset` are for one other thread, the one that synthesizes.

    Args:
        load_gradients: called on the thread, once there is somebody to settle on.

    Attributes:
        cpu_seconds: of the processor, up to the newest step.
        problem: what ended it, while the run goes on with what was learned so far; None = nothing did.
    """

    def __init__(self, load_gradients: Callable[[], Gradients]) -> None:
        self.cpu_seconds = 0.0
        self.problem: str | None = None
        self._load_gradients = load_gradients
        self._people: OrderedDict[int, _Person] = OrderedDict()  # by FaceTrack.person, the last seen at the end
        self._lock = threading.Lock()  # of the people, and of their candidates
        self._quit = threading.Event()
        self._gone: deque[Settled] = deque(maxlen=PEOPLE)  # of whom nothing else is known any more
        self._thread = threading.Thread(target=self._run, name="settle", daemon=True)

    def __enter__(self) -> Settler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quit.set()
        self._thread.join(STOP_SECONDS)

    def wants(self, track: FaceTrack, t: float) -> bool:
        """Whether it is time to look at a face again."""
        if self.problem is not None:
            return False
        person = self._people.get(track.person)
        return person is None or not 0 <= t - person.looked < LOOKS_SECONDS

    def look(self, frame: Frame, track: FaceTrack, latent: F32, t: float, *, hurried: bool) -> None:
        """Takes a picture of a face, to learn from if it is a good one.

        Args:
            frame: where the face is.
            track: the face.
            latent: float32 [1, 18, 512], the encoder's of this very picture, with what was enrolled of the person.
            t: seconds.
            hurried: there is no time to spare unless the face is at rest.
        """
        person = self._person(track.person)
        steady = _is_steady(person, track, t)
        free, person.look = find_free(frame.rgb, track.landmarks, t, person.look)
        lately = latent if person.lately is None else person.lately
        person.room = not hurried or distance(latent, lately, std_w()) < REST
        person.looked, person.landmarks = t, track.landmarks
        person.lately = lately + np.float32(LATELY) * (latent - lately)
        person.present_until = time.perf_counter() + GONE_SECONDS
        if not (steady and _is_good(track) and float(free.mean()) >= FREE):
            return
        views = () if person.settling is None else person.settling.views
        if not is_new(views, latent):
            return
        view = view_of(frame.rgb, track.landmarks, latent, GRADIENT_SIZE)
        found = Kept(view, sharpness(view))
        if views and found.sharpness < SHARP * max(kept.sharpness for kept in views):
            return
        with self._lock:
            if person.candidate is None:
                person.candidate, person.candidate_since = found, t
            elif found.sharpness > person.candidate.sharpness:
                person.candidate = found

    def offset(self, person_id: int, t: float) -> F32 | None:
        """What is to be added to a person's latents now, float32 [1, 18, 512]; None = nothing was learned yet.

        Args:
            person_id: see FaceTrack.person.
            t: seconds.
        """
        person = self._person(person_id)
        settling, dt = person.settling, max(t - person.shown_t, 0.0)
        person.shown_t = t
        if settling is None or not settling.best.any():
            return None
        shown = settling.best if dt > UNSEEN_SECONDS else person.shown
        if shown is None:
            shown = np.zeros_like(settling.best)
        person.shown = approach(shown, settling.best, min(dt, LONGEST_SECONDS))
        return std_w() * person.shown

    def progress(self) -> float | None:
        """Mean over those who are there, in [0, 1], of the share of their steps that is done; None = nobody is."""
        now = time.perf_counter()
        with self._lock:
            here = [person.settling for person in self._people.values() if person.present_until > now]
        shares = [settling.progress for settling in here if settling is not None]
        return float(np.mean(shares)) if shares else None

    def settled(self) -> list[Settled]:
        """What came of the last `PEOPLE` who left and of all who are remembered, the last seen at the end."""
        with self._lock:
            return [*self._gone, *(one for person in self._people.values() if (one := _outcome(person)) is not None)]

    def _forget(self) -> None:
        """Drops who left, with their pictures."""
        now = time.perf_counter()
        left = [key for key, person in self._people.items() if now - person.present_until > FORGET_SECONDS]
        for key in left:
            outcome = _outcome(self._people.pop(key))
            if outcome is not None:
                self._gone.append(outcome)

    def _person(self, person_id: int) -> _Person:
        with self._lock:
            self._forget()
            person = self._people.setdefault(person_id, _Person())
            self._people.move_to_end(person_id)
            while len(self._people) > PEOPLE:
                self._people.popitem(last=False)
        return person

    def _run(self) -> None:
        gradients: Gradients | None = None
        try:
            only_idle_time = step_aside()
            while not self._quit.is_set():
                person = self._next()
                if person is None or person.settling is None:
                    self._quit.wait(WAIT_SECONDS)
                    continue
                gradients = gradients or self._load_gradients()
                started = time.perf_counter()
                person.settling = step(person.settling, gradients)
                self.cpu_seconds = time.thread_time()
                if not only_idle_time:
                    self._quit.wait(time.perf_counter() - started)
        except Exception as error:  # noqa: BLE001 - whatever it is, the mirror can go on without, and says so
            what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.problem = f"settling has ended: {what}"

    def _next(self) -> _Person | None:
        """For whom a step is to be taken: of those who are there, who has had the fewest; None = for nobody."""
        now = time.perf_counter()
        with self._lock:
            self._forget()
            here = [person for person in self._people.values() if person.present_until > now]
            for person in here:
                found = person.candidate
                if found is not None and person.looked - person.candidate_since >= CHOICE_SECONDS:
                    person.settling, person.candidate = add(person.settling, found), None
        waiting = [p for p in here if p.room and p.settling is not None and p.settling.left > 0]
        return min(waiting, key=lambda p: 0 if p.settling is None else p.settling.descent.number, default=None)


def _outcome(person: _Person) -> Settled | None:
    settling = person.settling
    if settling is None or settling.losses is None:
        return None
    return Settled(settling.descent.number, settling.left, len(settling.views), *settling.losses)


def _is_steady(person: _Person, track: FaceTrack, t: float) -> bool:
    """Whether the face has hardly moved since the last look at it."""
    if person.landmarks is None or not 0 < t - person.looked < GONE_SECONDS:
        return False
    moved = float(np.linalg.norm(track.landmarks - person.landmarks, axis=1).mean())
    return moved < STEADY * face_size(track.landmarks) * (t - person.looked)


def _is_good(track: FaceTrack) -> bool:
    """Whether the face is seen whole and from the front."""
    return track.score >= INSIDE and bool((np.abs(track.pose[:2]) <= FRONTAL).all())
