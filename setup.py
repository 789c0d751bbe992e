"""What pyproject.toml cannot say: the loops of a backfill in C. Where there is no compiler, Python does the same."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(f"offchain.chain.{name}", [f"offchain/chain/{name}.c"], optional=True, extra_compile_args=["-O3"])
        for name in ("_native", "_listings")
    ]
)
