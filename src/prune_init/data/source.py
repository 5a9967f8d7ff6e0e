"""Where the official files of a data set come from, and where they are stored."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import TypeVar

from prune_init.data.fetch import fetch, md5_of, unpack
from prune_init.errors import InputError, MissingDataError
from prune_init.subcommands import to_type

log = logging.getLogger(__name__)

Make = TypeVar("Make", bound=Callable[..., object])


def looked_for(look: Callable[..., None]) -> Callable[[Make], Make]:
    """A decorator that gives a function that builds a data set the attribute `look`, which takes the same arguments.

    `look` raises an error if files are missing, so that a command can report it before it imports and builds anything.
    """

    def mark(make: Make) -> Make:
        make.look = look  # type: ignore[attr-defined]
        return make

    return mark


@dataclass(frozen=True)
class Download:
    """A data set that can be downloaded as its official files.

    Attributes:
        name: its name in `dataset=`.
        title: its usual name.
        folder: where its files are stored, relative to the root of all data sets.
        url: the folder on the official site, with a slash at the end.
        archives: the names of the files under `url`, with the md5 of each.
    """

    name: str
    title: str
    folder: str
    url: str
    archives: Mapping[str, str]

    def command(self, root: Path | str) -> str:
        """The command line that fetches the data set."""
        return to_type("download", self.name, "--root", quote(str(root)))

    def look(self, *, root: Path | str, download: bool, **_: object) -> None:
        """Raise the MissingDataError that `locate` would raise, without fetching or reading anything."""
        if not download:
            self.locate(root, download=False)

    def locate(self, root: Path | str, *, download: bool) -> Path:
        """Find the folder of the files; they are fetched first if it is missing and `download` is set.

        Raises:
            MissingDataError: if it is missing; the message contains the command that fetches it.
            InputError: if fetching fails.
        """
        folder = Path(root) / self.folder
        if not folder.is_dir():
            if not download:
                message = f"{self.title} is not in {folder}; fetch it with: {self.command(root)}"
                raise MissingDataError("dataset.root", root, message)
            self.download(root)
        return folder

    def verify(self, root: Path | str, md5: Mapping[str, str]) -> None:
        """Check the files in the folder against their official checksums; a wrong file is left as it is.

        Raises:
            InputError: if a file is missing or is not the official one; the message names it.
        """
        folder = Path(root) / self.folder
        for name, checksum in md5.items():
            there = (folder / name).is_file()
            if not there or md5_of(folder / name) != checksum:
                state = "is not the official file (wrong md5)" if there else "is missing"
                remedy = f"remove {folder} and fetch it again with: {self.command(root)}"
                raise InputError("dataset.root", root, f"{folder / name} {state}; {remedy}")

    def download(self, root: Path | str) -> Path:
        """Fetch, check and unpack the files; the folder appears only when it is complete.

        Raises:
            InputError: if the folder exists, or a file cannot be fetched or is not the official one.
        """
        target = Path(root) / self.folder
        if target.exists():
            raise InputError("root", root, f"{target} is there already; remove it to fetch it again")
        there = Path(root).exists()
        try:
            Path(root).mkdir(parents=True, exist_ok=True)
            beside = TemporaryDirectory(dir=root, prefix=f".{self.name}-")
        except OSError as error:
            raise InputError("root", root, f"cannot be written to ({error.strerror})") from None
        try:
            with beside as staging:
                self._fetch_into(Path(staging))
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    (Path(staging) / self.folder).rename(target)
                except OSError:
                    if not target.is_dir():  # else another process was faster and fetched the same files
                        raise
        finally:
            if not there:
                with suppress(OSError):  # not empty if the files were fetched
                    Path(root).rmdir()
        return target

    def _fetch_into(self, staging: Path) -> None:
        folder = staging / self.folder
        folder.mkdir(parents=True)
        for name, md5 in self.archives.items():
            log.info("fetching %s", self.url + name)
            archive = staging / name
            fetch(self.url + name, md5, archive)
            # An archive contains the folder itself; a single packed file is unpacked into the folder.
            unpack(archive, staging if name.endswith((".zip", ".tar.gz")) else folder)
