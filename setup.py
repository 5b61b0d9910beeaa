"""The one build step that setup.cfg cannot express: files that live outside the package's folder.

* ``startup/*`` goes to the root of site-packages, where Python looks for start-up files.
* ``hyperparams/**/*.yml`` stands at the top level, as in rl_zoo3, and is installed inside the package.

A plain sub-command of ``build`` (the ``setuptools.command.build.SubCommand`` protocol) does it for wheels and
for editable installs alike; so the files are listed in RECORD, and every installer removes them on uninstall.
"""

from pathlib import Path

from setuptools import Command, setup
from setuptools.command.build import build

STARTUP = {
    "startup/_sb3_softac_zoo.py": "_sb3_softac_zoo.py",
    "startup/sb3_softac_zoo.pth": "sb3_softac_zoo.pth",
    "startup/sb3_softac_zoo.start": "sb3_softac_zoo.start",
}
HYPERPARAMS = {path.as_posix(): f"sb3_softac/{path.as_posix()}" for path in sorted(Path("hyperparams").rglob("*.yml"))}


class build_outside(Command):  # noqa: N801, setuptools names commands so
    """Copy the files of ``STARTUP`` and ``HYPERPARAMS`` to their places in the wheel."""

    description = "copy the start-up files and the hyperparameters into the wheel"
    user_options: list = []  # noqa: RUF012, the protocol of setuptools
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        if self.editable_mode:
            # Only what is "installed" reaches an editable wheel, build_lib does not. The start-up files are
            # copies there too: Python reads them at every start, also after the checkout was moved or
            # deleted. The hyperparameters stay in the checkout, where sb3_softac.zoo looks next.
            self._copy(STARTUP, self.get_finalized_command("install").install_lib)
        else:
            self._copy(STARTUP | HYPERPARAMS, self.build_lib)

    def _copy(self, files: dict[str, str], root: str) -> None:
        for source, target in files.items():
            self.mkpath(str(Path(root, target).parent))
            self.copy_file(source, str(Path(root, target)), preserve_mode=False)

    def get_source_files(self) -> list[str]:
        """Files that the sdist must hold."""
        return [*STARTUP, *HYPERPARAMS]

    def get_outputs(self) -> list[str]:
        return list(self.get_output_mapping())

    def get_output_mapping(self) -> dict[str, str]:
        if self.editable_mode:
            return {}
        return {str(Path(self.build_lib, target)): source for source, target in (STARTUP | HYPERPARAMS).items()}


build.sub_commands = [*build.sub_commands, ("build_outside", None)]

setup(cmdclass={"build_outside": build_outside})
