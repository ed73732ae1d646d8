"""The places that name packages say the same, and no file gives away the machine it was written on."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from workbench import doctor

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS = {extra: [Requirement(text) for text in texts] for extra, texts in PROJECT["optional-dependencies"].items()}
DIRECT = [*DEPENDENCIES, *(requirement for extra in EXTRAS.values() for requirement in extra)]
FROM_CONDA = {"pytorch": "torch", "pytorch-cpu": "torch", "pytorch-gpu": "torch"}
ENVIRONMENTS = ("environment.yml", "binder/environment.yml")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
# fmt: off
TOP_LEVEL = [
    "environment.yml", "README.md", "pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "CHANGELOG.md",
    "binder/environment.yml", "binder/postBuild", "binder/start", "notebooks", "workbench", "tests", "benchmarks",
]
# fmt: on
DEVELOPER_PATH = re.compile(r"(?<![\w.~)}>\]-])/(?:root|home|Users|work)/\w|\bshared/data\b")
REGISTRY = re.compile(r"pypi\.org|pythonhosted\.org|anaconda\.org|download\.pytorch\.org")
# .ci/run looks for data beside the checkout; README.md names the index of torch's CPU builds.
ALLOWED = {(".ci/run", DEVELOPER_PATH), ("README.md", REGISTRY)}


def name_of(requirement):
    return canonicalize_name(requirement.name)


def pins():
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def conda_packages(path):
    entries = yaml.safe_load((ROOT / path).read_text())["dependencies"]
    found = [Requirement(re.sub(r"(?<=\w)=(?=\d)", "==", text)) for text in entries if isinstance(text, str)]
    return {FROM_CONDA.get(package.name, package.name): package for package in found}


def repository_files():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def files():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing tells the project's files from others")
    return repository_files()


@pytest.mark.parametrize("path", ENVIRONMENTS)
def test_environment_names_the_packages_of_pyproject(path):
    assert set(conda_packages(path)) - {"python", "pip"} == {name_of(package) for package in DEPENDENCIES}


@pytest.mark.parametrize("path", ENVIRONMENTS)
def test_environment_asks_for_the_same_versions(path):
    asked = conda_packages(path)
    different = [str(package) for package in DEPENDENCIES if asked[name_of(package)].specifier != package.specifier]
    assert different == []


@pytest.mark.parametrize("path", ENVIRONMENTS)
def test_environment_takes_a_python_that_the_package_allows(path):
    asked, allowed = conda_packages(path)["python"].specifier, Requirement(f"python{PROJECT['requires-python']}")
    accepted = [minor for minor in range(8, 20) if f"3.{minor}" in asked]
    assert accepted
    assert all(f"3.{minor}" in allowed.specifier for minor in accepted)


def test_binder_has_cpu_torch_and_the_workbench_comes_from_the_checkout():
    assert conda_packages("binder/environment.yml")["torch"].name == "pytorch-cpu"
    assert {"pip": ["-e ."]} in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert "pip install --no-cache-dir --no-deps -e ." in (ROOT / "binder/postBuild").read_text()


def test_start_hands_over_to_the_server(tmp_path):
    command = [ROOT / "binder/start", "bash", "-c", 'echo "$OMP_NUM_THREADS $1"', "-", "two words"]
    ran = subprocess.run(command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "2 two words\n")


def test_constraints_pin_one_exact_version_each():
    found = pins()
    assert [str(pin) for pin in found if [clause.operator for clause in pin.specifier] != ["=="]] == []
    names = [name_of(pin) for pin in found]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_direct_dependency_is_pinned_within_its_range(requirement):
    pinned = {name_of(pin): next(iter(pin.specifier)).version for pin in pins()}
    assert name_of(requirement) in pinned
    assert Version(pinned[name_of(requirement)]) in requirement.specifier


def test_doctor_looks_for_what_pyproject_asks_for():
    assert {canonicalize_name(name) for name in doctor.PACKAGES} == {name_of(package) for package in DEPENDENCIES}
    assert PROJECT["requires-python"] == ">=" + ".".join(map(str, doctor.OLDEST_PYTHON))
    assert set(doctor.EXTRAS) == set(EXTRAS) - {"test"}
    for extra, package in doctor.EXTRAS.items():
        assert package in {name_of(requirement) for requirement in EXTRAS[extra]}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_parses_and_may_only_read(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    assert all("permissions" not in job and job["timeout-minutes"] for job in workflow["jobs"].values())


def test_workflows_run_the_pythons_that_the_package_allows():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
    assert len(WORKFLOWS) == 3


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_top_level_layout(name):
    assert (ROOT / name).exists()


@pytest.mark.parametrize("name", [".ci/run", "binder/postBuild", "binder/start"])
def test_script_is_executable_bash(name):
    path = ROOT / name
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", path]).returncode == 0


@pytest.mark.parametrize("pattern", [DEVELOPER_PATH, REGISTRY], ids=["developer path", "registry"])
def test_no_file_names_the_place_it_was_made(files, pattern):
    found = []
    for name in files:
        if (name, pattern) not in ALLOWED:
            text = (ROOT / name).read_text(encoding="utf-8", errors="ignore")
            found += [f"{name}: {match.group()}" for match in pattern.finditer(text)]
    assert found == []


def test_the_patterns_find_what_they_are_for():
    planted = ["open('/" + "root/data.nii')", "cd /" + "home/ann", "../shared" + "/data"]
    assert all(DEVELOPER_PATH.search(text) for text in planted)
    assert not DEVELOPER_PATH.search("runs/work/1 and https://example.org/home/x and ~/work/x")
    assert REGISTRY.search("https://" + "pypi" + ".org/simple")


def test_notebooks_are_committed_without_outputs(files):
    found = []
    for name in files:
        if not name.endswith(".ipynb"):
            continue
        for index, cell in enumerate(json.loads((ROOT / name).read_text(encoding="utf-8"))["cells"]):
            if cell.get("outputs") and "keep_output" not in cell["metadata"].get("tags", []):
                found.append(f"{name}: cell {index}")
    assert found == []
