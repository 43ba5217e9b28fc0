"""The models that a watcher has: known by their ids, opened when there is a claim about one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from opml.dispute.errands import Emit, quiet
from opml.errors import ImageError, OpmlError
from opml.header import ModelHeader
from opml.image import read_image
from opml.model import Model, load
from opml.pins import Pins
from opml.watch.terms import kind

SUFFIXES = (".onnx", ".opml")
# Each has an engine of its own, and anybody may register any number of variants.
OPENED = 16


@dataclass(eq=False)
class _Shelf:
    """A file and the header that it says it has; `model` once it was opened. `fixed`: named by the operator."""

    path: Path
    header: ModelHeader
    model: Model | None = None
    fixed: bool = False

    @cached_property
    def model_id(self) -> bytes:
        return self.header.model_id

    @cached_property
    def kind(self) -> ModelHeader:
        return kind(self.header)


class Library:
    """Models from files and from the files of folders, ONNX or image.

    An image's id is in its header, and is only believed once it was opened and validated, at the first claim about it.
    So several files may say that they are the same model: all are kept, and one is given up once it proves not to be.
    An ONNX file has to be compiled to know its id, with these `one_phase` and `dims`. A claim's model may have another
    window and clock than ours: `get` then makes the same model with those.
    """

    def __init__(
        self,
        files: Iterable[Path] = (),
        folders: Iterable[Path] = (),
        *,
        one_phase: bool = False,
        dims: Pins | None = None,
        emit: Emit = quiet,
    ) -> None:
        self._folders = list(folders)
        self._one_phase = one_phase
        self._dims = dims
        self._emit = emit
        self._seen: dict[Path, tuple[int, int]] = {}
        self._shelves: list[_Shelf] = []
        self._opened: dict[bytes, Model] = {}
        for path in files:
            self._put(self._read(path), fixed=True)
        self.scan()

    @property
    def ids(self) -> list[bytes]:
        """The ids of all models as their files have them."""
        return list(dict.fromkeys(shelf.model_id for shelf in self._shelves))

    @property
    def headers(self) -> list[ModelHeader]:
        """The headers of all models as their files have them."""
        return list(dict.fromkeys(shelf.header for shelf in self._shelves))

    def scan(self) -> bool:
        """Looks for new or changed files in the folders; whether there were any. Those that are no models are told."""
        found = False
        for folder in self._folders:
            try:
                paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
            except OSError as error:
                self._bad(folder, error)
                continue
            for path in paths:
                found |= self._look_at(path)
        return found

    def add(self, model: Model) -> None:
        """Puts a model there that is open already."""
        self._shelves.append(_Shelf(Path(), model.header, model, fixed=True))

    def has(self, model_id: bytes, header: ModelHeader | None = None) -> bool:
        """Whether there is a model of this id, or one that only differs from the `header` in window and clock."""
        return next(self._candidates(model_id, header), None) is not None

    def get(self, model_id: bytes, header: ModelHeader | None = None) -> Model | None:
        """The model of this id, opened; `header` as in `has`. Raises what is wrong with its file where all are bad."""
        if (known := self._opened.pop(model_id, None)) is not None:
            self._opened[model_id] = known
            return known
        trouble: Exception | None = None
        for shelf in self._candidates(model_id, header):
            try:
                model = self._open(shelf)
            except Exception as error:  # whatever is in a file, there may be another
                trouble = error
                self._bad(shelf.path, error)
                if not shelf.fixed:
                    self._shelves = [other for other in self._shelves if other is not shelf]
                continue
            if model.model_id != model_id and header is not None:
                ours = replace(model.header, window=header.window, clock=header.clock)
                model = Model(replace(model.image, header=ours))
            if model.model_id == model_id:
                self._opened[model_id] = model
                while len(self._opened) > OPENED:
                    del self._opened[next(iter(self._opened))]
                return model
        if trouble is not None:
            raise trouble
        return None

    def _candidates(self, model_id: bytes, header: ModelHeader | None) -> Iterator[_Shelf]:
        """What may be the model: what is open first, then what the operator has named, then what has his terms."""
        wanted = None if header is None else kind(header)
        fitting = [s for s in self._shelves if s.model_id == model_id or s.kind == wanted]
        yield from sorted(fitting, key=lambda s: (s.model is None, not s.fixed, s.model_id != model_id))

    @staticmethod
    def _open(shelf: _Shelf) -> Model:
        if shelf.model is None:
            model = load(shelf.path)
            if model.header != shelf.header:
                raise ImageError(f"{shelf.path} has become another model")
            shelf.model = model
        return shelf.model

    def _look_at(self, path: Path) -> bool:
        """Whether a file in a folder is new or has changed, and is a model. Whatever is in it, it harms nobody else."""
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if self._seen.get(path) == stamp:
                return False
            self._seen[path] = stamp
            shelf = self._read(path)
        except Exception as error:
            self._bad(path, error)
            return False
        # What the file was before, unless it is in memory.
        self._shelves = [one for one in self._shelves if one.path != path or one.fixed or one.model is not None]
        self._put(shelf)
        return True

    def _read(self, path: Path) -> _Shelf:
        if path.suffix == ".opml" and path.is_file():
            return _Shelf(path, read_image(path).manifest.model_header())
        model = load(path, one_phase=self._one_phase, dims=self._dims)
        return _Shelf(path, model.header, model)

    def _put(self, shelf: _Shelf, fixed: bool = False) -> None:
        shelf.fixed = fixed
        self._shelves.append(shelf)
        self._emit("model", model=shelf.model_id, file=str(shelf.path), window=shelf.header.window)

    def _bad(self, path: Path, error: Exception) -> None:
        known = isinstance(error, OpmlError)
        code, reason = (error.code, error.message) if isinstance(error, OpmlError) else ("internal", repr(error))
        self._emit("model-bad", "warning" if known else "error", file=str(path), code=code, reason=reason)
