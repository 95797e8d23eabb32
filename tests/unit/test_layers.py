"""The library is a list of wings: each imports only from those above it, and no files import each other."""

import ast
import subprocess
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
WINGS = (
    ("base",),
    ("models",),
    ("diffusion",),
    ("data",),
    ("inversion",),
    ("editing",),
    ("scoring",),
    ("statistics",),
    ("study", "microworld"),
    ("running",),
    ("commands",),
)
RANK = {wing: rank for rank, wings in enumerate(WINGS) for wing in wings}
LOOSE = {"__init__.py", "__main__.py", "cli.py", "program.py", "py.typed", "editors.py", "datasets.py"}
HEAVY = ("torch", "diffusers", "transformers", "pandas", "matplotlib", "pyarrow", "seaborn", "cv2")


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(file): file for file in sorted((SOURCE / "editfrontier").rglob("*.py"))}


def imported(file: Path) -> set[str]:
    """Modules of the library that a file names in imports, wherever they stand, also those for type checking."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            parent = node.module or ""
            found |= {f"{parent}.{alias.name}" if f"{parent}.{alias.name}" in FILES else parent for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & FILES.keys()


ARROWS = {module: imported(file) - {module} for module, file in FILES.items()}


def wing_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_the_library_has_no_other_wings_and_few_loose_modules() -> None:
    content = {path.name for path in (SOURCE / "editfrontier").iterdir()} - {"__pycache__"}
    assert content == RANK.keys() | LOOSE


def test_no_wing_imports_from_one_below_it() -> None:
    against = [
        f"{module} imports {other}"
        for module, others in ARROWS.items()
        for other in sorted(others)
        if (a := wing_of(module)) != (b := wing_of(other)) and a in RANK and other != "editfrontier"
        if b not in RANK or RANK[b] >= RANK[a]
    ]
    assert not against, "\n".join(against)


def test_no_files_import_each_other() -> None:
    try:
        TopologicalSorter(ARROWS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_a_class_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for module, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)
    assert not {name: modules for name, modules in places.items() if len(modules) > 1}


def test_a_config_is_built_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from pathlib import Path; import editfrontier.running.progress; "
        "from editfrontier.study.config.study import load_study; "
        "from editfrontier.study.judging.ledger import read_claims; "
        "read_claims(Path('config/claims.yaml')); study = load_study([Path('config/micro.yaml')]); "
        "[study.edit_spec(task, variant) for task in study.variants for variant in study.variants[task]]; "
        f"print(*sorted(set({HEAVY}) & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SOURCE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_pyiqa_whose_licence_is_non_commercial_is_imported_by_one_file() -> None:
    importing = set()
    for file in [*FILES.values(), *SOURCE.parent.glob("scripts/*.py"), *SOURCE.parent.glob("benchmarks/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "pyiqa" for name in modules):
                importing.add(file.relative_to(SOURCE.parent).as_posix())
    assert importing == {"src/editfrontier/scoring/evaluators/pyiqa.py"}
