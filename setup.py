"""What pyproject.toml cannot say: the loops of a backfill in C. Without a C compiler it is installed without."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("offchain.chain._native", ["offchain/chain/_native.c"], optional=True, extra_compile_args=["-O3"])
    ]
)
