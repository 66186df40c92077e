"""Writes the encoder's model card from what was measured: models/shipped/encoder.md and its picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2

from export.evaluate import LABELS
from models import zoo
from models.errors import UserError

PICTURE = "pictures/encoder-generated.jpg"
WIDTH = 640  # pixels
ROWS = ("identity", "landmarks", "psnr", "face_l1", "smile", "mouth_open", "eyes_closed", "yaw", "pitch", "age")

CARD = """# Model card: the encoder

Aligned crop of a face, 128 px, and MediaPipe's 478 landmarks in it -> W+ [18, 512], in one forward pass.
`encoder.onnx`: {parameters:.1f} million parameters of its own, stored in float16, computed in float32.

| input | shape | range |
|---|---|---|
| `image` | float32 [N, 3, 128, 128], RGB, FFHQ alignment | [-1, 1] |
| `landmarks` | float32 [N, 478, 2], x and y from edge to edge of the crop | [0, 1] |

| output | shape | range |
|---|---|---|
| `w_plus` | float32 [N, 18, 512], of the StyleGAN2-FFHQ generator | W's own |

**Form.** A residual network of 3x3 convolutions to a 4x4 map, kept as a map; a small network for the landmarks; both
lead to one base w and an offset per layer (after e4e), from the mean latent. Then feedback as in ReStyle
(arXiv:2104.02699), with no picture made: a small network tells from the latent the landmarks and a thumbnail of the
face that the estimate would make, and what these miss of the crop's says, with what the encoder saw, how the latent
is to change; trained in three steps, used in {feedback_steps} (`models/networks/refined_encoder.py`).

And it is told who it sees: what dlib's face recogniser (a ResNet of 29 layers, CC0) makes of the crop, 128 numbers,
is added to where crop and landmarks meet, to what the feedback reads and, by a matrix, to the latent
(`models/networks/recognising_encoder.py`). The recogniser is a part of the graph, but its 5.6 million weights are
not: the graph points into dlib's file.

**Data.** The generator's own samples: truncation 0.45 to 1, 40% style mixes, some with every layer leaning to another
face (`python -m export pool --free`: photographs lie off W), found again by MediaPipe. Where estimates are drawn also
50 photographs of 25 consenting adults, two in a batch, of which no latents are known. Augmentation: small
misalignment, light, colour, blur, noise, JPEG, occluding patches.

**Recipe.** {steps} steps of batch 32, seed 1; AdamW, cosine from 1e-3, weight average; encoder and feedback
together. Loss: smooth L1 of standardised W+, plus the distance of what the latents show: the Gauss-Newton metric of
the picture, linear maps to landmarks and blendshapes and to a face recogniser's embedding
(`export/latent_metric.py`), and landmarks, thumbnail and embedding as the network tells them that was trained to
before (`export/train_surrogate.py`: on held-out faces it explains {surrogate}). Then {minutes:.0f} minutes on
two busy cores, from 3e-4, in which of six faces of each batch and of the photographs the estimate was drawn by the
generator, and compared with what was wanted as pictures and by the recogniser. Last, polished for
{polished}
on faces of which a fifth are off W (`export/polish_encoder.py`): 14 of 24 and the photographs drawn, compared by
MediaPipe's face mesh too (`export/likeness.py`); half of the faces not augmented; SOAP (ICLR 2025) in place of Adam.
In the third of these runs it began to read the recogniser's embedding, by a ridge regression of what it missed of the
latents of 8,192 faces (`export/recognition.py`).

Of the shipped weights in particular: the encoder was trained alone for 10,895 steps, the first 5,288 on 16,959
faces made with an earlier 256 px head (27 dB), with a cosine of their own and, in the first 2,500, colour
augmentation two to three times as strong; the others on 37,497 faces of W and up to 4,160 off it, with identity in
the loss from step 6,000 on, geometry counted twice, and misalignment three times as strong as now. From there on
the feedback was trained with it, on up to 47,500 faces of W and 12,500 off it; the weights of geometry and
landmarks are as they are now from step 13,500 on. The estimates were drawn from step 17,500 on, with metric and
surrogate (3,000 steps) made again from 60,000 faces that the recogniser had seen, where it had been 9,216; the
trainer did that itself then. Other work ran on the same cores: the minutes say little. When it was first polished,
every face was augmented until step 200, and until step 450 there was less momentum and less weight of identity and
points against that of the latents; it came to know the faces of that pool, and the next polish was on new ones. In
the third, points weighed 60 until step 300, and 100 from there on.

```bash
python -m export pool &
python -m export surrogate
python -m export encoder
python -m export ship
python -m export pool --pictures --seed 2 --count 18000 --folder runs/pictures
python -m export pool --pictures --seed 2 --count 22500 --free --folder runs/pictures
python -m export polish --pool runs/pictures --photos DIR --compile
python -m export evaluate --samples 256 --photos DIR --held-out
python -m export card --evaluation runs/evaluation
```

**Measured** on {engine}. Medians over faces, the worst tenth beginning at the number in brackets; bias is the mean
of reconstruction minus input. Generated faces are held out by seed; the photographs are of 25 other consenting
adults, neutral and smiling, none of whom was trained on, and are not part of this project. The identity distance is
by the recogniser that the encoder is told by and was learned from, dlib's: another one sees less of what was gained.

{table}

R2 of standardised W+ on the generated faces: {r2}.

![Input, reconstruction, and edits of generated faces]({picture})

**Limits.** It finds pose, expression, complexion and the shape of face and features; most of the photographed
people are to that face recogniser (under 0.6) the same person. A bald head may come back with hair. It was trained
on generated faces, which are more often young, smiling and light-skinned than people are. Profile views are outside
of what it knows.

The generator's weights descend from NVIDIA's StyleGAN2-FFHQ (non-commercial); treat this encoder alike.
"""


def markdown_table(sets: dict[str, Any]) -> str:
    """The figures of each set side by side."""
    names = [
        f"{'generated faces' if name == 'generated' else 'photographs'} ({one['faces']})"
        for name, one in sets.items()
    ]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for row in ROWS:
        label, factor, unit = LABELS[row]
        cells = []
        for one in sets.values():
            figures = one["reconstruction"][row]
            cell = f"{figures['median'] * factor:.3g} ({figures['worst_tenth'] * factor:.3g})"
            if figures.get("bias") is not None:
                cell += f", bias {figures['bias'] * factor:+.2g}"
            cells.append(cell)
        lines.append(f"| {label}{', ' + unit if unit else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export card`."""
    parser = argparse.ArgumentParser(prog="python -m export card", description=__doc__)
    parser.add_argument(
        "--evaluation", type=Path, required=True, metavar="DIR", help="of `python -m export evaluate`"
    )
    parser.add_argument("--out", type=Path, default=zoo.SHIPPED / "encoder.md")
    args = parser.parse_args(argv)
    path = args.evaluation / "evaluate.json"
    if not path.exists():
        raise UserError(f"no {path}; make it first: python -m export evaluate --out {args.evaluation}")
    measured = json.loads(path.read_text(encoding="utf-8"))
    encoder = json.loads((zoo.SHIPPED / "encoder.json").read_text(encoding="utf-8"))
    if measured["encoder_sha256"] != encoder["sha256"]:
        raise UserError(f"{path} was measured with another encoder than the shipped one; run evaluate again")
    sheet = cv2.imread(str(args.evaluation / "sheet-generated.png"))
    if sheet is None:
        raise UserError(f"{args.evaluation} has no sheet-generated.png; evaluate with --samples of at least 1")
    picture = args.out.parent / PICTURE
    picture.parent.mkdir(exist_ok=True)
    height = round(sheet.shape[0] * WIDTH / sheet.shape[1])
    cv2.imwrite(str(picture), cv2.resize(sheet, (WIDTH, height), interpolation=cv2.INTER_AREA))
    r2 = measured["sets"]["generated"]["r2"]
    args.out.write_text(
        CARD.format(
            parameters=encoder["parameters"] / 1e6,
            steps=encoder["steps"],
            minutes=encoder["minutes"],
            feedback_steps=encoder["feedback_steps"],
            polished=", then ".join(
                "{minutes:.0f} minutes ({steps:,} steps, {faces:,} faces)".format(**run)
                for run in encoder["polished"]
            ),
            surrogate=", ".join(f"{share:.0%} of the {name}" for name, share in encoder["surrogate"].items()),
            engine=measured["engine"],
            table=markdown_table(measured["sets"]),
            r2=", ".join(f"{value:.2f} {name}" for name, value in r2.items()),
            picture=PICTURE,
        ),
        encoding="utf-8",
    )
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
