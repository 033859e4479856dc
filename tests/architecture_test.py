"""The rules of docs/architecture.md that a program can check: imports, sizes, names, messages, documents.

Every rule is a function from source to a list of offences. Each is also shown an offender, so that a rule
that can no longer fail is found.
"""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "asem_jax"

# A module imports from its own room and from those before it, never from those after it.
ROOMS = (
    *(
        "volumes",
        "simulation",
        "models",
        "segmentation",
        "measurement",
        "training",
        "prediction",
        "reporting",
        "settings",
    ),
    *("stages", "experiment", "main"),
)
FOR_ALL = {"devices", "interruption", "progress"}
OWNERS = {
    "tensorstore": ("volumes",),
    "tifffile": ("volumes.tiff",),
    "h5py": ("volumes.hdf5",),
    "mrcfile": ("volumes.mrc",),
    "dask": ("volumes.cluster",),
    "distributed": ("volumes.cluster",),
    "dask_jobqueue": ("volumes.cluster",),
    "cloudpickle": ("volumes.cluster",),
    "flax": ("models",),
    "orbax": ("models.checkpoint",),
    "torch": ("models.torch_weights",),
    "optax": ("training",),
    "tensorboardX": ("training",),
    "matplotlib": ("reporting", "stages.report"),
    "neuroglancer": ("stages.view",),
    "napari": ("stages.window",),
    "magicgui": ("stages.window",),
    "ml_collections": ("stages", "experiment", "main"),
    "tqdm": ("progress",),
    "pyarrow": ("measurement.tables",),
    "absl": (),  # logging.getLogger(__name__) is what main shows
}
NO_STAGES = ("recipe", "window")  # what the config of a stage holds, and a window: stages may import them
OPTIONAL = {
    *("distributed", "dask_jobqueue", "cloudpickle", "torch", "neuroglancer", "napari", "magicgui", "flatbuffers"),
    "pyarrow",
}
NAMELESS = {"utils", "util", "common", "helpers", "helper", "core", "base", "misc", "tools"}

MODULE_LINES = 400
FUNCTION_LINES = 60
LOOP_LINES = 90
MEDIAN_LINES = 10
PERCENTILE_90_LINES = 35
POSITIONAL = 5

TOP_LEVEL = {
    *("asem_jax", "configs", "launch", "tests", "benchmarks", "docs", ".ci", ".gitignore"),
    *("pyproject.toml", "requirements-gpu.txt", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md"),
}
BY_PRODUCT = re.compile(r"\.git|\.venv.*|\..*_cache|runs|build|dist|__pycache__|.*\.egg-info")
TESTS_OF_NO_MODULE = {"architecture", "benchmarks", "launch", "package", "end_to_end", "faults", "configs"}
MODULES_WITHOUT_TEST = {  # tables; main_test and configs_test read them
    "settings.annotation",
    *("settings.simulation", "settings.volumes", "settings.training", "settings.prediction", "settings.results"),
    "settings.measurement",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    """Dotted name of a module below asem_jax: `volumes.geometry`; of a room's `__init__`, the room."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


SOURCES = {name_of(path): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {name for name in SOURCES if name and (PACKAGE / f"{name.replace('.', '/')}.py").exists()}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yields the full dotted names that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            if module.startswith("asem_jax"):
                yield from (f"{module}.{alias.name}" for alias in node.names)


def functions(tree: ast.AST) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def body_lines(function: Function) -> int:
    """Lines of a function without its signature and docstring."""
    first = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - first[0].lineno + 1 if first else 0


def is_within(name: str, owner: str) -> bool:
    return name == owner or name.startswith(owner + ".")


def looks_down_or_aside(name: str, source: str) -> list[str]:
    """A room imports from itself and upwards; stages not from each other."""
    found = []
    room = name.split(".")[0]
    for imported in imports(ast.parse(source)):
        if imported.startswith("."):
            found.append(f"{name}: relative import {imported}; write it in full")
        if not imported.startswith("asem_jax.") or imported == "asem_jax.__version__":
            continue
        other = imported.split(".")[1]
        is_stage = not any(is_within(imported, f"asem_jax.stages.{part}") for part in NO_STAGES)
        aside = room == other == "stages" and is_stage
        down = other not in FOR_ALL and (room in FOR_ALL or ROOMS.index(other) > ROOMS.index(room))
        if down or (aside and imported != "asem_jax.stages"):
            found.append(f"{name}: imports {imported}")
    return found


def takes_what_another_owns(name: str, source: str) -> list[str]:
    """Each heavy package is imported by its owner only."""
    packages = {imported.split(".")[0] for imported in imports(ast.parse(source))}
    return [
        f"{name}: imports {package}; its owner is {OWNERS[package] or 'nobody'}"
        for package in sorted(packages & set(OWNERS))
        if not any(is_within(name, owner) for owner in OWNERS[package])
    ]


def imports_late(name: str, source: str) -> list[str]:
    """Imports stand on top; only the door is lazy, and whoever needs an optional package."""
    found = []
    for function in functions(ast.parse(source)):
        for imported in imports(function):
            if name != "main" and imported.split(".")[0] not in OPTIONAL:
                found.append(f"{name}.{function.name}: imports {imported} inside")
    return found


def is_too_large(name: str, source: str) -> list[str]:
    """Limits of lines per module and function, and of positional parameters."""
    found = []
    if (lines := source.count("\n")) > MODULE_LINES:
        found.append(f"{name}: {lines} lines; split it by noun")
    limit = LOOP_LINES if name == "stages.train" else FUNCTION_LINES
    for function in functions(ast.parse(source)):
        if (lines := body_lines(function)) > limit:
            found.append(f"{name}.{function.name}: {lines} lines")
        words = [a.arg for a in function.args.posonlyargs + function.args.args if a.arg not in ("self", "cls")]
        if len(words) > POSITIONAL:
            found.append(f"{name}.{function.name}: {len(words)} positional parameters; make some keyword-only")
    return found


def is_undocumented(name: str, source: str) -> list[str]:
    """Public things have docstrings, and public functions annotations."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else [f"{name}: no docstring"]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for owner in [tree, *classes]:
        for node in owner.body:
            if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
                continue
            if any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
                continue  # the last definition documents them all
            if not ast.get_docstring(node):
                found.append(f"{name}.{node.name}: no docstring")
            if isinstance(node, Function):
                words = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                bare = [word.arg for word in words if word.annotation is None and word.arg not in ("self", "cls")]
                if bare or node.returns is None:
                    found.append(f"{name}.{node.name}: no annotation of {', '.join(bare) or 'the result'}")
    return found


def is_setting(node: ast.AST) -> bool:
    """Says whether a text begins with a value, the only one that leads there: `regions={} leaves ...`."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(re.match(r"[\w.]+=", node.value))


def raises_without_value(name: str, source: str) -> list[str]:
    """An error carries the value that was wrong: a message of constant text cannot."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            parts = [part for word in node.exc.args for part in ast.walk(word)]
            if not any(isinstance(part, ast.Name | ast.FormattedValue) or is_setting(part) for part in parts):
                found.append(f"{name}, line {node.lineno}: raises without saying what was given")
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name) and node.exc.id[0].isupper():
            found.append(f"{name}, line {node.lineno}: raises {node.exc.id} without a message")
    return found


def lets_config_in(name: str, source: str) -> list[str]:
    """Below the stages there are arguments, no config; and nowhere a default that the config cannot see."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] == "config":
            if node.attr == "get":
                found.append(f"{name}, line {node.lineno}: config.get hides a default")
            elif not any(is_within(name, owner) for owner in OWNERS["ml_collections"]):
                found.append(f"{name}, line {node.lineno}: reads config.{node.attr}; take an argument")
    return found


def has_no_name(name: str, source: str) -> list[str]:
    """A module is a noun or a verb of the field."""
    return [f"{name}: says nothing about what is in it" for part in name.split(".") if part in NAMELESS]


RULES = {
    looks_down_or_aside: ("volumes.store", "from asem_jax.models import unet"),
    takes_what_another_owns: ("measurement.metrics", "import tensorstore as ts"),
    imports_late: ("measurement.metrics", "def f():\n    import json"),
    is_too_large: ("models.unet", "def f(a, b, c, d, e, f):\n    pass"),
    is_undocumented: ("models.unet", '"""Networks."""\ndef f(x) -> int:\n    """Returns x."""'),
    raises_without_value: ("models.unet", "raise ValueError('wrong shape')"),
    lets_config_in: ("training.step", "rate = config.learning_rate"),
    has_no_name: ("volumes.utils", ""),
}
MORE_OFFENDERS = [
    (looks_down_or_aside, "stages.train", "from asem_jax.stages.predict import run"),
    (looks_down_or_aside, "stages.train", "from asem_jax.stages import predict"),
    (looks_down_or_aside, "devices", "from asem_jax.volumes.geometry import Box"),
    (looks_down_or_aside, "volumes.store", "from .geometry import Box"),
    (takes_what_another_owns, "models.unet", "import orbax.checkpoint as ocp"),
    (is_too_large, "models.unet", "#\n" * 401),
    (is_too_large, "models.unet", "def f():\n" + "    pass\n" * 61),
    (
        is_undocumented,
        "models.unet",
        '"""Networks."""\nclass A:\n    """An A."""\n    def f(self) -> None: ...',
    ),
    (is_undocumented, "models.unet", ""),
    (raises_without_value, "models.unet", "raise ValueError"),
    (lets_config_in, "stages.train", "rate = config.get('rate', 0.1)"),
    (lets_config_in, "stages.train", "rate = self.config.get('rate', 0.1)"),
]
INNOCENT = '''"""Networks."""
import numpy as np
from asem_jax.devices import make_mesh
from asem_jax.volumes.geometry import Box

def f(a: int, *, b: int, c: int, d: int, e: int, g: int) -> int:
    """Returns a."""
    if a:
        raise ValueError(f"a={a}; give 0.")
    raise KeyError(a)
'''


@pytest.mark.parametrize("rule", RULES)
def test_no_module_breaks(rule):
    found = [line for name, source in SOURCES.items() if name for line in rule(name, source)]
    assert not found, "\n".join(found)


OFFENDERS = [(rule, *offender) for rule, offender in RULES.items()] + MORE_OFFENDERS


@pytest.mark.parametrize(("rule", "name", "source"), OFFENDERS)
def test_rule_finds_its_offender(rule, name, source):
    assert rule(name, source)


@pytest.mark.parametrize("rule", RULES)
def test_rule_lets_a_good_module_pass(rule):
    assert rule("models.unet", INNOCENT) == []


def test_functions_are_short_on_the_whole():
    lengths = [body_lines(function) for source in SOURCES.values() for function in functions(ast.parse(source))]
    assert statistics.median(lengths) <= MEDIAN_LINES
    assert statistics.quantiles(lengths, n=10)[-1] <= PERCENTILE_90_LINES


def test_every_room_is_in_the_order():
    rooms = {name.split(".")[0] for name in SOURCES if name}
    assert rooms <= {*ROOMS, *FOR_ALL}


def test_top_level_is_as_agreed():
    there = {path.name for path in ROOT.iterdir() if not BY_PRODUCT.fullmatch(path.name)}
    assert there == TOP_LEVEL


def test_tests_mirror_the_package():
    tested = {
        ".".join(path.relative_to(ROOT / "tests").with_suffix("").parts).removesuffix("_test")
        for path in (ROOT / "tests").rglob("*_test.py")
    }
    stray, untested = tested - MODULES - TESTS_OF_NO_MODULE, MODULES - tested - MODULES_WITHOUT_TEST
    assert not stray, f"tests of modules that do not exist: {sorted(stray)}"
    assert not untested, f"modules without tests: {sorted(untested)}"


def test_no_place_of_one_machine_is_written_down():
    pattern = re.compile(r"(?<![\w.}>/])/(home|root|work|Users|opt|mnt|scratch|groups|nrs)/\w")
    kinds = {".py", ".sh", ".md", ".toml", ".txt", ".cff", ".sbatch", ""}
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("asem_jax", "configs", "launch", "tests", "benchmarks", "docs", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in kinds and path != Path(__file__)
        for line in path.read_text().splitlines()
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def documented_modules(text: str) -> set[str]:
    """The modules in the tree of a document: rooms end in a slash, files start the lines below them."""
    found, room = set(), ""
    for line in text.split("```")[1].splitlines():
        if heading := re.match(r"( *)(\w+)/", line):
            room = f"{heading[2]}." if heading[1] else ""
        elif files := re.match(r"( +)((?:\w+\.py[ ,]*)+)", line):
            prefix = room if len(files[1]) > 2 else ""
            found |= {prefix + name for name in re.findall(r"(\w+)\.py", files[2])}
    return found


def test_architecture_document_names_every_module():
    written = documented_modules((ROOT / "docs" / "architecture.md").read_text()) - {"__init__"}
    gone, new = written - MODULES, MODULES - written
    assert not gone, f"docs/architecture.md names what does not exist: {sorted(gone)}"
    assert not new, f"docs/architecture.md does not name {sorted(new)}"


def test_documented_modules_are_read_from_the_tree():
    lines = [
        "```",
        "asem_jax/",
        "  main.py   the door, see z.py",
        "  volumes/  arrays",
        "    a.py b.py   places",
    ]
    tree = "\n".join([*lines, "  bars.py  bars", "```"])
    assert documented_modules(tree) == {"main", "volumes.a", "volumes.b", "bars"}


def test_ratio_of_tests_to_code(capsys):
    code = sum(source.count("\n") for source in SOURCES.values())
    tests = sum(path.read_text().count("\n") for path in (ROOT / "tests").rglob("*.py"))
    with capsys.disabled():
        print(f"\nlines of tests : code = {tests} : {code} = {tests / code:.2f}")
    assert code > 0
