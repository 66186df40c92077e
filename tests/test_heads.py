"""The image heads below 1024 px: what they read, what they learn from, and that they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

from export.head_patches import FRONT_SIZE, MARGIN, OUTPUTS, PIECE, PIECES, PieceMaker, cut_pieces  # noqa: E402
from export.train_heads import Pieces, Steered, fit, pictures, psnr, squared_error  # noqa: E402
from models import ir, registry  # noqa: E402
from models.latent import broadcast, mean_w  # noqa: E402
from models.networks import mobile_stylegan as ms  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def published() -> Any:  # noqa: ANN401 - torch has no types here
    return ms.load_published(ir.read(registry.path("synthesis-xml")))


def test_the_head_of_256_px_reads_the_first_band_of_what_that_of_512_px_reads() -> None:
    nets = [ms.load_published(ir.read(registry.path("synthesis-xml")), size) for size in (256, 512)]
    low, whole = (net.blocks[5].conv2 for net in nets)
    x, style = torch.randn(1, 128, 256, 256), torch.randn(1, 512)
    torch.testing.assert_close(low(x, style), whole(x, style)[:, :32])


def test_a_piece_is_what_the_whole_face_has_there(published: Any, tmp_path: Path) -> None:  # noqa: ANN401
    w_plus = broadcast(mean_w()[None])[0]
    whole = PieceMaker(published, FRONT_SIZE, tmp_path)
    expected = whole.make(whole.front(w_plus), w_plus, 0, 0)
    found = cut_pieces(PieceMaker(published, PIECE + 2 * MARGIN, tmp_path), w_plus, np.random.default_rng(3))
    assert (found["start"] == 0).any() and (found["start"] > MARGIN).any(), "pieces at an edge and within"
    for name in OUTPUTS:
        scale = expected[name].shape[2] // FRONT_SIZE
        for piece, (y, x) in zip(found[name], scale * found["start"], strict=True):
            part = expected[name][0, :, y : y + scale * PIECE, x : x + scale * PIECE]
            np.testing.assert_allclose(piece, part, rtol=2e-3, atol=2e-3 * np.abs(part).max())


def test_a_folded_change_is_the_change() -> None:
    affine, seen = torch.nn.Linear(20, 5), torch.nn.Linear(20, 4)
    steered = Steered(affine, seen, torch.rand(5) + 0.5)
    torch.nn.init.normal_(steered.change.weight)
    torch.nn.init.normal_(steered.change.bias)
    steered.requires_grad_(False)
    styles = torch.randn(3, 20)
    expected = steered(styles)
    torch.testing.assert_close(steered.folded()(styles), expected)


def test_what_clips_alike_is_no_error_and_what_should_not_clip_is() -> None:
    wanted, share = torch.tensor([1.3, -1.2, 0.5, 1.3]).reshape(1, 1, 2, 2).repeat(1, 3, 1, 1), torch.ones(1, 1, 2, 2)
    given = torch.tensor([1.9, -1.0, 0.5, 0.8]).reshape(1, 1, 2, 2).repeat(1, 3, 1, 1)
    assert float(squared_error(given, wanted, share)) == pytest.approx(0.2**2 / 4)
    assert float(squared_error(torch.full_like(wanted, 1.5), torch.zeros_like(wanted), share)) == pytest.approx(
        1.5**2
    )
    share[..., 1, 1] = 0
    assert float(squared_error(given, wanted, share)) == 0


@pytest.mark.parametrize("size", [256, 512])
def test_a_fit_comes_nearer_than_least_squares(published: Any, tmp_path: Path, size: int) -> None:  # noqa: ANN401
    torch.manual_seed(1)  # a head begins at random
    rng = np.random.default_rng(1)
    bands = rng.standard_normal((PIECES, 128, 64, 64)).astype(np.float32)
    styles = (0.3 * rng.standard_normal((PIECES, 5, 512))).astype(np.float32)
    mix = 0.02 * rng.standard_normal((3, 32)).astype(np.float32)
    small = np.einsum("oc,nchw->nohw", mix, np.maximum(bands[:, :32], 0))
    images = {"image256": small, "image512": small.repeat(2, 2).repeat(2, 3)}
    starts = np.array([[0, 0], [10, 20], [48, 48]])
    path = tmp_path / "pieces.npz"
    np.savez(path, features512=bands, w_plus=styles, start=starts, **images)
    pieces = Pieces(size, [path])
    rows = pieces.batch(12, np.random.default_rng(2))
    ratios = []
    for steps in (0, 150):
        head = fit(size, None, published, pieces, steps, 4, np.random.default_rng(3), rate=1e-2)
        with torch.no_grad():
            found = pictures(head, rows[0], rows[1])
        torch.testing.assert_close(found, head(rows[0], rows[1]).detach(), atol=1e-4, rtol=1e-4)
        ratios.append(psnr(found.numpy(), rows[2].numpy()))
    assert ratios[1] > ratios[0] + 1, ratios
