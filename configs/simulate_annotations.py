"""One labelled volume annotated in three ways: exactly, loosely, and with sparse brush strokes.

Reads the mitochondria that configs/simulate_cf.py writes (another volume: --config.volume=FOLDER; other labels of it:
--config.organelle=NAME) and writes labels and a mask for each way into the run folder, and annotations.json with the
time that each would have taken. The pace is assumed, not measured.

Command:  bash launch/local.sh --config configs/simulate_annotations.py --workdir runs/simulate_annotations
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, shapes are voxels, z y x."""
    source = {"labels": "{volume}/labels/{organelle}", "seed": 1}
    exact = {"section_step": 1, "missed_share": 0.0, "offset_nm": 0.0, "offset_pitch_nm": 150.0}
    # With labels that have one id per object, a missed_share of e.g. 0.1 leaves out that share of them.
    loose = {"section_step": 4, "missed_share": 0.0, "offset_nm": 15.0, "offset_pitch_nm": 150.0}
    strokes = {
        "section_step": 16,
        "foreground_pitch_nm": 250.0,
        "background_pitch_nm": 400.0,
        "length_nm": 300.0,
        "radius_nm": 20.0,
    }
    return ConfigDict(
        {
            "stage": "simulate_annotations",
            "volume": "runs/simulate_cf/cf.zarr",
            "organelle": "mito",
            "annotations": {
                "exact": source | {"target": "{workdir}/exact.zarr", "outlines": exact, "strokes": None},
                "loose": source | {"target": "{workdir}/loose.zarr", "outlines": loose, "strokes": None},
                "strokes": source | {"target": "{workdir}/strokes.zarr", "outlines": None, "strokes": strokes},
            },
            "pace": {
                "section_s": 5.0,
                "object_s": 3.0,
                "outline_s_per_um": 4.0,
                "stroke_s": 1.0,
                "stroke_s_per_um": 2.0,
            },
            "block_shape": (64, 64, 64),
            "chunk_shape": (64, 64, 64),
            "num_threads": 2,
        }
    )
