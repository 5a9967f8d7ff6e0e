"""Fetch a file and check its md5; unpack an archive safely."""

import gzip
import hashlib
import shutil
import tarfile
import urllib.request
from http.client import HTTPException
from pathlib import Path
from zipfile import ZipFile

from prune_init.errors import InputError

TIMEOUT = 30  # seconds without a byte


def fetch(url: str, md5: str, target: Path) -> None:
    """Fetch a file and check its md5.

    Args:
        url: of the scheme http, https or file.
        md5: the checksum that the file must have, as hexadecimal digits.
        target: where to write the file.

    Raises:
        InputError: if it cannot be fetched, or is not the file with this checksum.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, target.open("wb") as file:
            shutil.copyfileobj(response, file, length=1 << 20)
    except (OSError, HTTPException, ValueError) as error:
        # The reason inside a URLError is easier to read than its own text.
        reason = getattr(error, "reason", error)
        raise InputError("url", url, f"cannot be fetched: {reason}") from error
    if (found := md5_of(target)) != md5:
        raise InputError("url", url, f"the downloaded file is not the official one: md5 {found} instead of {md5}")


def md5_of(path: Path) -> str:
    """The md5 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tar.gz into `folder`, or a single .gz as a file with the same name without the ending.

    Nothing is written outside the folder: members of a .zip that would land there are put inside.

    Raises:
        InputError: if a member of a .tar.gz would land outside the folder, or the archive is damaged.
    """
    try:
        if archive.suffix == ".zip":
            with ZipFile(archive) as packed:
                packed.extractall(folder)
        elif archive.name.endswith(".tar.gz"):
            with tarfile.open(archive, "r:gz") as tar:
                tar.extractall(folder, filter="data")  # refuses links and paths that lead outside
        else:
            with gzip.open(archive) as unpacked, (folder / archive.stem).open("wb") as file:
                shutil.copyfileobj(unpacked, file)
    except Exception as error:  # a damaged archive can make its readers fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError("archive", archive.name, f"cannot be unpacked: {reason}") from error
