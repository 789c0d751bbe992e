"""What pyproject.toml cannot say: the loops of a backfill in C. Where there is no compiler, Python does the same."""

from setuptools import Extension, setup


def extension(name: str, *headers: str) -> Extension:
    folder = "offchain/chain/"
    return Extension(
        f"offchain.chain.{name}",
        [f"{folder}{name}.c"],
        depends=[folder + header for header in headers],
        optional=True,
        extra_compile_args=["-O3"],
    )


setup(ext_modules=[extension("_native", "_keccak.h"), extension("_listings")])
