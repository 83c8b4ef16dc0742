"""Package description for colcon (ament_python)."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "fer_training"
VERBS = ("train", "teach", "adapt", "interpolate", "prune", "evaluate", "export", "quantize", "report")

setup(
    name=NAME,
    version="0.2.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/configs", [str(path) for path in sorted(Path("configs").glob("*.yaml"))]),
    ],
    install_requires=["setuptools"],
    python_requires=">=3.10",
    zip_safe=False,
    maintainer="FER suite maintainers",
    maintainer_email="fer-suite@users.noreply.github.com",
    description="Training, evaluation and export of the emotion networks that fer_perception serves.",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"{verb} = {NAME}.__main__:{verb}" for verb in VERBS]},
)
