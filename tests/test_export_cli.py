"""`python -m export`: dispatch, quick help, errors on one line."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from export.__main__ import COMMANDS, main


def test_help_lists_every_command_without_importing_any(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_help_is_quick() -> None:
    started = time.monotonic()
    code = "import sys; import export.__main__; sys.exit('torch' in sys.modules or 'dlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name in (
        "heads",
        "graphs",
        "onnx",
        "openvino",
        "tensorrt",
        "quantise",
        "modulation",
        "speed",
        "pool",
        "encoder",
    ):
        pytest.importorskip("torch")
    pytest.importorskip("dlib")
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"python -m export {name}" in capsys.readouterr().out


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["evaluat"])
    assert stop.value.code == 2
    assert "evaluate" in capsys.readouterr().err


def test_ctrl_c_is_one_line_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.__main__._main_of", lambda _: interrupted)
    assert main(["speed"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "--samples", "-1", "--out", "x"], "--samples -1"),
        (["evaluate", "--photos", "no-such-folder", "--out", "x"], "no-such-folder"),
        (["evaluate", "--samples", "0", "--out", "x"], "nothing to measure"),
        (["evaluate", "--edit", "smile=much", "--out", "x"], "--edit smile=much: 'much' is no strength"),
        (["evaluate", "--edit", "smile=nan", "--out", "x"], "--edit smile=nan: 'nan' is no strength"),
        (["evaluate", "--edit", "ears", "--out", "x"], "ears"),
        (["directions", "--smile-of", "no-such-folder", "--out", "x"], "no-such-folder has no NAME_neutral.jpg"),
        (["directions", "--of", "smile"], "--out DIR"),
        (["directions", "--of", "smile", "--out", "x", "--name", "a/b"], "--name 'a/b'"),
        (["directions", "--of", "age", "--out", "x", "--hold", "age"], "nothing of --of age"),
        (["directions", "--of", "age", "--out", "x", "--hold", "ears"], "no such attribute"),
        (["directions", "--hold", "age"], "--hold needs a direction"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dlib")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
