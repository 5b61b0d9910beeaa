"""Each kind of installation: the command works, rl_zoo3 stays as it was, uninstalling leaves nothing."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging
EXTRA = pytest.mark.packaging_full


@pytest.mark.parametrize(
    "kind",
    ["wheel", "editable", pytest.param("strict editable", marks=EXTRA), pytest.param("sdist", marks=EXTRA)],
)
def test_comes_works_and_goes(installation, kind):
    before = installation.snapshot()
    with installation.installed(kind):
        added = set(installation.snapshot()) - set(before)
        output = installation.train(steps=520)
        assert rl_zoo3_files(installation.snapshot()) == rl_zoo3_files(before)

    source = installation.site / "sb3_softac" if kind in {"wheel", "sdist"} else installation.source
    assert f"Loading hyperparameters from: {source}/hyperparams/softac.yml" in output
    assert {"_sb3_softac_zoo.py", "sb3_softac_zoo.pth", "sb3_softac_zoo.start"} <= added
    assert installation.snapshot() == before
    assert not list(installation.site.rglob("*softac*"))  # .pyc files included
    refused = installation.run("-m", "rl_zoo3.train", "--algo", "softac", fails=True)
    assert "invalid choice: 'softac'" in refused


def rl_zoo3_files(snapshot: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in snapshot.items() if Path(name).parts[0] == "rl_zoo3"}


def test_the_wheel_holds_every_subpackage(wheel):
    """A subpackage that is not found, or data that is not listed, would show only on a user's machine."""
    package = wheel.source / "sb3_softac"
    expected = {path.relative_to(package) for path in package.rglob("*") if path.suffix in {".py", ".typed"}}
    installed = wheel.site / "sb3_softac"
    found = {path.relative_to(installed) for path in installed.rglob("*") if path.suffix in {".py", ".typed"}}
    assert found == expected
    assert (installed / "hyperparams" / "softac.yml").is_file()
    assert (installed / "hyperparams" / "presets" / "crossq.yml").is_file()


def test_the_version_is_the_packages(wheel):
    distribution = wheel.run("-c", "from importlib.metadata import version; print(version('sb3_softac'))")
    module = wheel.run("-c", "import sb3_softac; print(sb3_softac.__version__)")
    assert distribution == module
