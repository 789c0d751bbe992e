"""What pyproject.toml cannot say: the loops of a backfill in C. Where there is no compiler, Python does the same."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("offchain.chain._native", ["offchain/chain/_native.c"], optional=True, extra_compile_args=["-O3"])
    ]
)
