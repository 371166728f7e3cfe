"""docs/licences.md is complete, nothing under the GPL is imported, and no known hole is in what is installed."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| (\S+) \| (.+) \| (.+) \|$", re.MULTILINE)
STRONG = re.compile(r"(?<!L)\bA?GPL|(?<!Lesser )General Public License")
WEAK = re.compile(r"LGPL|Lesser General Public License")


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    """docs/licences.py, which is a script beside its page and no part of the package."""
    spec = importlib.util.spec_from_file_location("licences", REPOSITORY / "docs" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["licences"] = module
    spec.loader.exec_module(module)
    return module


def rows() -> dict[str, tuple[str, str]]:
    """package -> (licence, what needs it), as the page says."""
    text = (REPOSITORY / "docs" / "licences.md").read_text(encoding="utf-8")
    return {name: (licence, by) for name, licence, by in ROW.findall(text) if name != "package"}


def test_every_package_of_the_run_time_is_on_the_page_with_its_licence(licences: ModuleType) -> None:
    packages, _ = licences.needed()
    told = rows()
    installed_here = {one.name: (one.licence, one.by) for one in packages}
    absent = sorted(installed_here.keys() - told.keys())
    assert not absent, f"run `python docs/licences.py`: the page lacks {', '.join(absent)}"
    changed = [name for name, said in installed_here.items() if told[name][0] != said[0]]
    assert not changed, f"run `python docs/licences.py`: another licence than the page says: {', '.join(changed)}"


def test_everything_the_project_declares_is_found_in_the_closure(licences: ModuleType) -> None:
    packages, missing = licences.needed()
    found = {one.name for one in packages} | missing
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(extras) - {"dev"} == set(licences.EXTRAS), "docs/licences.py: EXTRAS"
    declared = [*project["dependencies"], *(line for name in licences.EXTRAS for line in extras[name])]
    names = {canonicalize_name(re.split(r"[\[<>=;~! ]", line)[0]) for line in declared}
    assert names <= found
    assert len(found) > 2 * len(names), "what dependencies need themselves is part of it"


def test_no_package_of_the_run_time_is_under_the_gpl_and_those_under_the_lgpl_are_known() -> None:
    told = rows()
    assert [name for name, (licence, _) in told.items() if STRONG.search(WEAK.sub("", licence))] == []
    assert {name for name, (licence, _) in told.items() if WEAK.search(licence)} == {"pebble", "pi-heif", "psycopg2-binary"}


def test_a_gpl_licence_would_be_seen() -> None:
    for licence in ("GPL-3.0-or-later", "GNU General Public License v2 (GPLv2)", "AGPL-3.0", "GNU Affero General Public License v3"):
        assert STRONG.search(WEAK.sub("", licence)), licence
    for licence in ("LGPL-3.0-only", "GNU Library or Lesser General Public License (LGPL)", "MIT"):
        assert not STRONG.search(WEAK.sub("", licence)), licence


def test_a_copyleft_library_inside_a_wheel_is_named(licences: ModuleType) -> None:
    page = (REPOSITORY / "docs" / "licences.md").read_text(encoding="utf-8")
    for one in licences.needed()[0]:
        for library, terms in licences.carried(one.name).items():
            assert f"{library} ({terms})" in page, f"run `python docs/licences.py`: {one.name} carries {library}"


def test_no_module_imports_a_package_that_is_not_declared_or_is_under_the_gpl(licences: ModuleType) -> None:
    packages, missing = licences.needed()
    known = {one.name for one in packages} | missing
    belongs = metadata.packages_distributions()
    for file in (REPOSITORY / "vibe_assets").rglob("*.py"):
        for module in imported(file):
            if module in sys.stdlib_module_names or module == "vibe_assets" or module not in belongs:
                continue  # an extra that is not installed is imported where it is asked for
            names = {canonicalize_name(name) for name in belongs[module]}
            assert names & known, f"{file.relative_to(REPOSITORY)} imports {module}, which nothing in pyproject.toml brings"


def imported(file: Path) -> set[str]:
    """Top-level modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


# -- known holes ------------------------------------------------------------------------------------------------------------
ACCEPTED: dict[str, str] = {}  # advisory -> why it does not concern us


def audited(requirements: str, folder: Path, *, seconds: int) -> list[dict[str, object]]:
    """What pip-audit says of pinned requirements. Skips where no database of advisories is reachable."""
    file = folder / "requirements.txt"
    file.write_text(requirements, encoding="utf-8")
    command = [sys.executable, "-m", "pip_audit", "-r", str(file), "--no-deps", "--disable-pip", "-f", "json", "--progress-spinner", "off"]
    try:
        ended = subprocess.run([*command, "--timeout", "5"], capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the database of advisories did not answer within {seconds} s")
    if not ended.stdout.strip():
        pytest.skip(f"no database of advisories is reachable: {ended.stderr.strip()[-200:]}")
    return list(json.loads(ended.stdout)["dependencies"])


@pytest.mark.slow
def test_no_known_hole_is_in_what_is_pinned(tmp_path: Path) -> None:
    (probe,) = audited("jinja2==2.4\n", tmp_path, seconds=30)  # old enough to have many
    if "skip_reason" in probe or not probe.get("vulns"):
        pytest.skip(f"the package index here has no advisories: {probe.get('skip_reason', 'none for a release that has many')}")
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    pinned = "\n".join(line.partition("#")[0] for line in text.splitlines() if "==" in line) + "\n"
    found = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no release yet'}"
        for one in audited(pinned, tmp_path, seconds=200)
        for hole in one.get("vulns", [])  # type: ignore[attr-defined]
        if not {hole["id"], *hole["aliases"]} & ACCEPTED.keys()
    ]
    assert not found, "\n".join(found)
