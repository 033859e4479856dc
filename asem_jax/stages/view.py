"""Stage `view`: volumes in neuroglancer, each at its place in nm.

    python -m asem_jax.main --config configs/view_quickstart.py --workdir runs/view

The volumes are served from this machine for as long as the stage runs, and only they are. The page comes from the
package neuroglancer (extra `view`), which needs no network, or from an address that serves neuroglancer.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from asem_jax import devices
from asem_jax.reporting.scenery import COLORS, KINDS, Layer, link, state
from asem_jax.volumes import ngff
from asem_jax.volumes.geometry import float3, nm_from_voxels
from asem_jax.volumes.remote import is_remote, locate
from asem_jax.volumes.serving import FolderServer, container
from asem_jax.volumes.volume import Volume, open_volume

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Shows the volumes that `config` (section "view") names, until it is stopped or `seconds` are over.

    Args:
      config: the section described in `settings.SETTINGS["view"]`.
      workdir: receives view.json, the state, and view.txt, the link.

    Raises:
      FileNotFoundError: a volume is not there.
      ImportError: the page is to come from a package that is not installed.
      ValueError: a volume cannot be shown as what it is said to be.
    """
    if not devices.is_speaker():
        return
    volumes = _volumes(config)
    local = [container(volume.address) for volume in volumes.values() if not is_remote(volume.address)]
    with FolderServer(local, host=config.host, port=config.port) as server:
        shown = scene(config, volumes, server)
        with _page(shown, config) as address:
            (workdir / "view.json").write_text(json.dumps(shown, indent=1))
            (workdir / "view.txt").write_text(address + "\n")
            logger.info("open %s", address)
            logger.info("the volumes are served until this is stopped (Ctrl-C)")
            _wait(config.seconds)


def scene(config: ConfigDict, volumes: dict[str, Volume], server: FolderServer) -> dict[str, Any]:
    """Returns the state of neuroglancer for open volumes.

    Args:
      config: as for `run`.
      volumes: by the names of the layers.
      server: serves those that are on this machine.
    """
    layers = [
        Layer(
            name,
            volume.address if is_remote(volume.address) else server.url(volume.address),
            config.layers[name].kind,
            config.layers[name].color or COLORS[number % len(COLORS)],
            config.layers[name].visible,
        )
        for number, (name, volume) in enumerate(volumes.items())
    ]
    first = next(iter(volumes.values()))
    middle = nm_from_voxels([(side - 1) / 2 for side in first.shape], first.voxel_size_nm, first.offset_nm)
    position = middle if config.position_nm is None else float3(config.position_nm, "view.position_nm")
    extent = max(side * size for side, size in zip(first.shape[1:], first.voxel_size_nm[1:], strict=True))
    width = extent if config.width_nm is None else config.width_nm
    return state(layers, position_nm=position, voxel_size_nm=first.voxel_size_nm, width_nm=width)


def _volumes(config: ConfigDict) -> dict[str, Volume]:
    """Returns the volumes of all layers, after checking that neuroglancer can show them."""
    if not config.layers:
        raise ValueError("view.layers={} leaves nothing to show; name at least one volume.")
    unknown = [name for name, section in config.layers.items() if section.kind not in KINDS]
    if unknown:
        kind = config.layers[unknown[0]].kind
        raise ValueError(f"view.layers.{unknown[0]}.kind={kind!r} is none of {', '.join(KINDS)}; choose one of them.")
    # Configs keep no order; what covers more lies below.
    sections = sorted(config.layers.items(), key=lambda item: KINDS.index(item[1].kind))
    volumes = {name: open_volume(section.source) for name, section in sections}
    for name, volume in volumes.items():
        kind = config.layers[name].kind
        if not ngff.multiscales(locate(volume.address)):
            raise ValueError(f"view.layers.{name}: {volume.address} is no OME-Zarr image; convert it (stage convert).")
        if kind in ("labels", "objects") and volume.dtype.kind not in "iu":
            raise ValueError(
                f"view.layers.{name}: {volume.address} has dtype {volume.dtype}, kind={kind!r} needs whole numbers; "
                "give kind='probability' or 'raw'."
            )
        if kind == "probability" and volume.dtype != np.uint8:
            raise ValueError(
                f"view.layers.{name}: {volume.address} has dtype {volume.dtype}, kind='probability' is uint8 with "
                "255 = 1; give kind='raw'."
            )
    return volumes


@contextmanager
def _page(shown: dict[str, Any], config: ConfigDict) -> Iterator[str]:
    """Yields the address to open."""
    if config.client is not None:
        yield link(shown, config.client)
        return
    try:
        import neuroglancer
    except ImportError as error:
        raise ImportError(
            f"view.client=None shows the page of the package neuroglancer, which is missing ({error}); "
            'pip install "asem_jax[view]", or give the address of a neuroglancer, e.g. '
            "client='https://neuroglancer-demo.appspot.com'."
        ) from error
    neuroglancer.set_server_bind_address(config.host)
    viewer = neuroglancer.Viewer()
    viewer.set_state(shown)
    try:
        yield str(viewer.get_viewer_url())
    finally:
        neuroglancer.stop()


def _wait(seconds: float | None) -> None:
    """Returns when the time is over, or at Ctrl-C."""
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while end is None or time.monotonic() < end:
            time.sleep(0.2 if end is None else max(0.0, min(0.2, end - time.monotonic())))
    except KeyboardInterrupt:
        logger.info("stopped")
