"""`python -m export COMMAND`: makes and measures what the live application loads."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from models.errors import UserError


@dataclass(frozen=True)
class Command:
    """A module with ``main(argv: list[str]) -> None``, imported only when it is asked for.

    Attributes:
        module: where it is.
        summary: what it does, in a few words.
        first: arguments that it is called with before the user's own, where one module has several commands.
    """

    module: str
    summary: str
    first: tuple[str, ...] = ()


COMMANDS = {
    "heads": Command("export.train_heads", "train the generator's image heads at 256 and 512 px"),
    "student": Command("export.train_student", "train the narrow generator at 256 px"),
    "compare": Command("export.student_report", "measure the narrow generator against the one it stands for"),
    "graphs": Command("export.to_onnx", "write the ONNX graphs of generator, mapping network and gradients"),
    "onnx": Command("export.to_artefact", "write a generator or an encoder, of any checkpoint, as ONNX", ("onnx",)),
    "openvino": Command("export.to_artefact", "the same as OpenVINO's own format", ("openvino",)),
    "tensorrt": Command("export.to_artefact", "the same as TensorRT engines, on a machine with a GPU", ("tensorrt",)),
    "quantise": Command("export.quantise", "write the generator's graphs in int8"),
    "modulation": Command("export.modulation", "time the two forms of StyleGAN2's modulated convolution"),
    "speed": Command("export.speed", "time the generator against its matrix products"),
    "pool": Command("export.pool", "fill the pool of generated faces that the encoder is trained on"),
    "surrogate": Command("export.train_surrogate", "train what tells a latent's looks, for the encoder's feedback"),
    "encoder": Command("export.train_encoder", "train the encoder"),
    "ship": Command("export.ship_encoder", "write the trained encoder as the ONNX graph that is shipped"),
    "polish": Command("export.polish_encoder", "train the shipped encoder on, by what is drawn of its estimates"),
    "card": Command("export.encoder_card", "write the encoder's model card from an evaluation"),
    "landmarks": Command("export.train_landmarks", "train the regressor of a generated face's landmarks"),
    "directions": Command("export.directions", "find, calibrate and tabulate the directions of change"),
    "space": Command("export.space", "measure W: perceptual path length and linear separability"),
    "evaluate": Command("export.evaluate", "measure the inversion on generated faces and on photographs"),
    "enrol": Command("export.enrol_report", "measure how near enrolment brings people, on photographs of them"),
    "overview": Command("export.overview", "make the picture in the README"),
    "transfer": Command("export.transfer_report", "measure the live application's smile on photographs of people"),
}

PACKAGES = ("export", "live", "models")
INSTALL_HINT = "python -m pip install -e '.[train]'"


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code: 0, 2 when the user has something to put right, or 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else argv
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description=__doc__,
        epilog="commands:\n" + "\n".join(f"  {name:<{width}}  {c.summary}" for name, c in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="each has its own --help")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    # What follows the command belongs to the command, so it is cut off here.
    named = [i for i, argument in enumerate(arguments) if not argument.startswith("-")]
    end = named[0] + 1 if named else len(arguments)
    options = parser.parse_args(arguments[:end])
    try:
        command = COMMANDS[options.command]
        _main_of(command)([*command.first, *arguments[end:]])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except UserError as error:
        if options.debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _main_of(command: Command) -> Callable[[list[str]], None]:
    """The command's entry point; its dependencies are those of the ``train`` extra."""
    try:
        module = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] in PACKAGES:
            raise
        raise UserError(
            f"this command needs the Python package {error.name!r}; install the train extra: {INSTALL_HINT}"
        ) from error
    run: Callable[[list[str]], None] = module.main
    return run


if __name__ == "__main__":
    sys.exit(main())
