"""3D segmentation of organelles in volume electron microscopy.

The way of a volume through the package, each step a stage of `python -m asem_jax.main` and a function here:

1. `convert` or `simulate`: a TIFF stack, or an invented cell, becomes OME-Zarr with sizes in nanometres;
2. `preprocess`: one voxel size for all;
3. `train`: random crops of labelled regions teach a 3D U-Net; or `import_weights`: a published one;
4. `predict`: the U-Net runs over a whole volume, block by block -> probabilities;
5. `postprocess`: probabilities -> a segmentation, and objects; `superimpose`: several organelles in one volume;
6. `evaluate`: the segmentation against labels -> F1, IoU, precision, recall;
7. `analyse`: objects -> tables of sizes and shapes in nm;
8. `report`: curves, tables and overlay pictures on one page.

From a notebook:

    import asem_jax as asem
    raw = asem.open_volume("cell.zarr/raw")
    model = asem.load_model("runs/mito")
    asem.predict_volume(model, raw, "cell.zarr/predictions/mito")

The names below are imported when first used, so `import asem_jax` itself takes no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asem_jax.measurement.scoring import evaluate_volumes
    from asem_jax.models.checkpoint import load_model
    from asem_jax.models.model import Model
    from asem_jax.prediction.predictor import predict, predict_volume
    from asem_jax.volumes.geometry import Box
    from asem_jax.volumes.volume import Volume, create_volume, open_volume

__version__ = "0.1.0"

__all__ = [
    "Box",
    "Ensemble",
    "Model",
    "Volume",
    "create_volume",
    "evaluate_volumes",
    "load_model",
    "open_volume",
    "predict",
    "predict_volume",
]

_MODULES = {
    "Box": "asem_jax.volumes.geometry",
    "Ensemble": "asem_jax.prediction.ensemble",
    "Model": "asem_jax.models.model",
    "Volume": "asem_jax.volumes.volume",
    "create_volume": "asem_jax.volumes.volume",
    "evaluate_volumes": "asem_jax.measurement.scoring",
    "load_model": "asem_jax.models.checkpoint",
    "open_volume": "asem_jax.volumes.volume",
    "predict": "asem_jax.prediction.predictor",
    "predict_volume": "asem_jax.prediction.predictor",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'asem_jax' has no attribute {name!r}; it offers {', '.join(__all__)}.")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the public names, loaded or not."""
    return sorted({*globals(), *__all__})
