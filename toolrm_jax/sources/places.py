"""Where a source's files lie: on this machine, on the Hugging Face hub, or where tensorflow-datasets gets them."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from toolrm_jax.errors import ConfigError, DataError

_HUB = re.compile(r"hf://datasets/(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<inside>.+))?")
_TFDS = "tfds://"
FORMATS = ("*.json", "*.jsonl", "*.parquet", "*.arrow", "*.csv")


def find(path: str | Path | None) -> Path | None:
    """The local file or folder. None stays None.

    `hf://datasets/owner/name[@revision][/inside]` is fetched from the hub, `tfds://schema_guided_dialogue` from where
    tensorflow-datasets gets it. Raises DataError where nothing is there, or it is not given.
    """
    if path is None:
        return None
    if isinstance(path, str) and path.startswith("hf://"):
        return _fetch(path)
    if isinstance(path, str) and path.startswith(_TFDS):
        return _download(path.removeprefix(_TFDS))
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"{place}: no such file or folder; give the data's place, or hf://datasets/owner/name")
    return place


def _fetch(path: str) -> Path:
    found = _HUB.fullmatch(path)
    if found is None:
        raise DataError(f"{path}: not a hub data set; write hf://datasets/owner/name, @revision and /folder if needed")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    inside = found["inside"]
    patterns = [inside, *(f"{inside}/{form}" for form in FORMATS)] if inside else list(FORMATS)
    try:
        folder = snapshot_download(
            found["name"], repo_type="dataset", revision=found["revision"], allow_patterns=patterns
        )
    except (HFValidationError, OSError) as error:
        why = str(error).strip().partition("\n")[0]
        raise DataError(f"{path}: the hub does not give it ({why}); check name, network and login") from None
    place = Path(folder, inside) if inside else Path(folder)
    if not place.exists():
        raise DataError(f"{path}: the data set has no file or folder {inside!r}; look at its files on the hub")
    return place


def _download(name: str) -> Path:
    """The archive behind a builder of tensorflow-datasets, unpacked.

    The builder's own records hold the words of the dialogues but not the calls, so its archive is read instead,
    which the library downloads and keeps beside them.
    """
    if name != "schema_guided_dialogue":
        raise DataError(f"tfds://{name}: only tfds://schema_guided_dialogue is known")
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError:
        raise ConfigError("reading tfds:// needs tensorflow-datasets; run `pip install 'toolrm_jax[tfds]'`") from None
    builder = tfds.builder(name)
    downloads = Path(builder.data_dir).parents[1] / "downloads"
    manager = tfds.download.DownloadManager(download_dir=str(downloads), dataset_name=name)
    try:
        return Path(manager.download_and_extract(f"{builder.info.homepage}/archive/refs/heads/master.zip"))
    except OSError as error:
        raise DataError(f"tfds://{name}: cannot be downloaded ({error}); check the network") from None
