"""The models that a watcher has: known by their ids, opened when there is a claim about one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from opml.dispute.errands import Emit, quiet
from opml.errors import OpmlError
from opml.header import ModelHeader
from opml.image import read_image
from opml.model import Model, load

SUFFIXES = (".onnx", ".opml")


@dataclass
class _Shelf:
    """A file and the header that it has; `model` once it was opened."""

    path: Path
    header: ModelHeader
    model: Model | None = None


class Library:
    """Models from files and from the files of folders, ONNX or image.

    An image's id is in its header, and is only believed once it was opened and validated, at the first claim about it.
    An ONNX file has to be compiled to know its id, with these `one_phase` and `dims`. A claim's model may have another
    window and clock than ours: `get` then makes the same model with those.
    """

    def __init__(
        self,
        files: Iterable[Path] = (),
        folders: Iterable[Path] = (),
        *,
        one_phase: bool = False,
        dims: Mapping[str, int] | None = None,
        emit: Emit = quiet,
    ) -> None:
        self._files = list(files)
        self._folders = list(folders)
        self._one_phase = one_phase
        self._dims = dims
        self._emit = emit
        self._seen: dict[Path, tuple[int, int]] = {}
        self._shelves: dict[bytes, _Shelf] = {}
        # The same model whatever its window and clock.
        self._kinds: dict[ModelHeader, _Shelf] = {}
        self._opened: dict[bytes, Model] = {}
        for path in self._files:
            self._add(path, strict=True)
        self.scan()

    @property
    def ids(self) -> list[bytes]:
        """The ids of all models as their files have them."""
        return list(self._shelves)

    @property
    def headers(self) -> list[ModelHeader]:
        """The headers of all models as their files have them."""
        return [shelf.header for shelf in self._shelves.values()]

    def scan(self) -> bool:
        """Looks for new or changed files in the folders; whether there were any. Those that are no models are told."""
        found = False
        for folder in self._folders:
            for path in sorted(folder.iterdir()):
                if path.suffix in SUFFIXES and path.is_file():
                    found |= self._add(path, strict=False)
        return found

    def add(self, model: Model) -> None:
        """Puts a model there that is open already."""
        self._put(_Shelf(Path(), model.header, model))

    def has(self, model_id: bytes, header: ModelHeader | None = None) -> bool:
        """Whether there is a model of this id, or one that only differs from the `header` in window and clock."""
        return self._find(model_id, header) is not None

    def get(self, model_id: bytes, header: ModelHeader | None = None) -> Model | None:
        """The model of this id, opened; `header` as in `has`. Raises OpmlError where its file is damaged."""
        if model_id in self._opened:
            return self._opened[model_id]
        shelf = self._find(model_id, header)
        if shelf is None:
            return None
        if shelf.model is None:
            shelf.model = load(shelf.path)
        model = shelf.model
        if model.model_id != model_id and header is not None:
            model = Model(replace(model.image, header=replace(model.header, window=header.window, clock=header.clock)))
        if model.model_id != model_id:
            return None
        self._opened[model_id] = model
        return model

    def _find(self, model_id: bytes, header: ModelHeader | None) -> _Shelf | None:
        if model_id in self._shelves:
            return self._shelves[model_id]
        return None if header is None else self._kinds.get(_kind(header))

    def _add(self, path: Path, strict: bool) -> bool:
        """Whether the file was new or has changed, and is a model."""
        status = path.stat() if path.is_file() else None
        stamp = (status.st_mtime_ns, status.st_size) if status else None
        if stamp is not None and self._seen.get(path) == stamp:
            return False
        try:
            if path.suffix == ".opml" and stamp is not None:
                shelf = _Shelf(path, read_image(path).manifest.model_header())
            else:
                model = load(path, one_phase=self._one_phase, dims=self._dims)
                shelf = _Shelf(path, model.header, model)
        except OpmlError as error:
            if strict:
                raise
            self._emit("model-bad", "warning", file=str(path), code=error.code, reason=error.message)
            shelf = None
        if stamp is not None:
            self._seen[path] = stamp
        if shelf is None:
            return False
        self._put(shelf)
        self._emit("model", model=shelf.header.model_id, file=str(path), window=shelf.header.window)
        return True

    def _put(self, shelf: _Shelf) -> None:
        self._shelves[shelf.header.model_id] = shelf
        self._kinds[_kind(shelf.header)] = shelf


def _kind(header: ModelHeader) -> ModelHeader:
    return replace(header, window=1, clock=1)
