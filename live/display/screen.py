"""The window's side of the loop: shows each picture with the display over it, and does what the keys ask for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from live.display.hud import ActiveEffect, Hud, draw
from live.display.keys import Action, Command, Keyboard, help_rows
from live.effects import DeformLoop, DirectionEffect
from live.frame import Frame
from live.observer import Moment, Observer
from live.outputs.recorder import Recorder
from live.outputs.snapshot import save_snapshot
from live.outputs.window import Window
from live.pipeline import Pipeline
from live.render import MODES
from live.settle.settle import Settler
from models.errors import UserError

MESSAGE_SECONDS = 4.0
STRENGTH_STEP = 0.25
KEYS_PER_TURN = 16  # a held key must not keep the picture waiting
NO_FACE = "No face in view: come before the camera, with more light"


class Screen(Observer):
    """Shows every turn of the loop in a window.

    Args:
        window: opened, on this thread.
        pipeline: whose mode and effects the keys change.
        recorder: what the record key starts and stops.
        engine: name of the inference engine, for the display.
        settler: whose progress is shown; None = there is none.
        snapshots: folder for snapshots; None = the user's pictures.
    """

    on_screen = True

    def __init__(
        self,
        window: Window,
        *,
        pipeline: Pipeline,
        recorder: Recorder,
        engine: str,
        settler: Settler | None = None,
        snapshots: Path | None = None,
    ) -> None:
        self._window = window
        self._pipeline = pipeline
        self._recorder = recorder
        self._engine = engine
        self._settler = settler
        self._settler_mourned = False
        self._snapshots = snapshots
        self._keyboard = Keyboard()
        effects = pipeline.effects.effects
        self._directions = [effect for effect in effects if isinstance(effect, DirectionEffect)]
        self._deforms = [effect for effect in effects if isinstance(effect, DeformLoop)]
        self._last = next(iter(self._directions), None)  # the one that "stronger" and "weaker" mean
        self._help_visible = False
        self._message = ""
        self._message_until = 0.0
        self._recording_since = 0.0
        self._shown: Moment | None = None  # the last one that had a picture
        self._since_drawn = 0  # frames
        self._quit = False
        self._do: dict[Action, Callable[[Command, float], None]] = {
            Action.TOGGLE_DIRECTION: self._toggle_direction,
            Action.STRONGER: lambda _, t: self._change_strength(STRENGTH_STEP, t),
            Action.WEAKER: lambda _, t: self._change_strength(-STRENGTH_STEP, t),
            Action.TOGGLE_DEFORM: self._toggle_deform,
            Action.NEXT_MODE: self._next_mode,
            Action.COMPARE: lambda _, t: None,  # the keyboard keeps it, as it ends without a key press
            Action.SNAPSHOT: self._snapshot,
            Action.RECORD: self._record,
            Action.HELP: self._toggle_help,
            Action.FULL_SCREEN: lambda _, t: window.toggle_full_screen(),
            Action.QUIT: self._ask_to_quit,
        }

    def see(self, moment: Moment) -> bool:
        """Shows the newest picture and acts on the keys; False = quit, or the window is closed."""
        if moment.composite is not None:
            self._shown = moment
            self._since_drawn += 1
        if self._since_drawn >= moment.preview or moment.camera is None:
            self._since_drawn = 0
            self._show(moment)
        for _ in range(KEYS_PER_TURN):
            key = self._window.poll_key()
            if key is None:
                break
            command = self._keyboard.press(key, time.perf_counter())
            if command is not None:
                self._do[command.action](command, moment.t)
        return not (self._quit or self._window.closed)

    def tell(self, message: str) -> None:
        """Shows a message for a few seconds."""
        self._message, self._message_until = message, time.perf_counter() + MESSAGE_SECONDS

    def _show(self, moment: Moment) -> None:
        shown = self._shown
        if shown is None or shown.composite is None or shown.camera is None:
            return
        now = time.perf_counter()
        comparing = self._keyboard.comparing(now)
        picture = shown.camera if comparing else shown.composite.frame
        if self._recorder.problem is not None:
            self.tell(str(self._recorder.problem))
            self._recorder.problem = None
        if self._settler is not None and self._settler.problem is not None and not self._settler_mourned:
            self._settler_mourned = True
            self.tell(self._settler.problem)
        hud = Hud(
            fps=moment.speed.fps,
            latency_ms=moment.speed.latency_ms,
            updates=moment.speed.updates,
            size=moment.speed.size,
            held_back=moment.speed.held_back,
            dropped=moment.counts.dropped,
            mode=self._pipeline.mode,
            engine=self._engine,
            effects=self._active_effects(),
            settling=None if self._settler is None else self._settler.progress(),
            comparing=comparing,
            recorded=now - self._recording_since if self._recorder.path is not None else None,
            message=self._current_message(shown, now),
            help_visible=self._help_visible,
            bindings=help_rows([direction.name for direction in self._directions]),
        )
        rgb = draw(self._window.fit(picture.rgb), hud)
        self._window.send(replace(picture, rgb=rgb))

    def _active_effects(self) -> tuple[ActiveEffect, ...]:
        directions = [
            ActiveEffect(effect.name, effect.strength, max(map(abs, effect.direction.range)))
            for effect in self._directions
            if effect.active
        ]
        deforms = [ActiveEffect(effect.name, effect.spec.depth) for effect in self._deforms if effect.active]
        return (*directions, *deforms)

    def _current_message(self, shown: Moment, now: float) -> str:
        if now < self._message_until:
            return self._message
        return NO_FACE if shown.composite is not None and not shown.composite.tracks else ""

    def _toggle_direction(self, command: Command, t: float) -> None:
        if command.number is not None and command.number < len(self._directions):
            self._last = self._directions[command.number]
            self._last.toggle(t)

    def _change_strength(self, step: float, t: float) -> None:
        if self._last is not None:
            self._last.change_strength(step, t)

    def _toggle_deform(self, _command: Command, t: float) -> None:
        for effect in self._deforms:
            effect.toggle(t)

    def _next_mode(self, _command: Command, _t: float) -> None:
        modes = list(MODES)
        current = modes.index(self._pipeline.mode) if self._pipeline.mode in modes else -1
        self._pipeline.mode = modes[(current + 1) % len(modes)]

    def _snapshot(self, _command: Command, _t: float) -> None:
        if self._shown is None or self._shown.composite is None:
            return
        picture: Frame = self._shown.composite.frame
        try:
            self.tell(f"Saved {save_snapshot(picture.rgb, self._snapshots)}")
        except UserError as problem:
            self.tell(str(problem))

    def _record(self, _command: Command, _t: float) -> None:
        try:
            if self._recorder.path is None:
                self._recorder.start()
                self._recording_since = time.perf_counter()
            else:
                self.tell(f"Saved {self._recorder.stop()}")
        except UserError as problem:
            self.tell(str(problem))

    def _toggle_help(self, _command: Command, _t: float) -> None:
        self._help_visible = not self._help_visible

    def _ask_to_quit(self, _command: Command, _t: float) -> None:
        self._quit = True
