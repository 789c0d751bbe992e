#!/usr/bin/env bash
# Put the Solidity compiler of version $1 where py-solc-x looks: a native one if this machine has it, else npm's behind
# a launcher. Version and bytecode are the same.
set -euo pipefail
version=$1
mkdir -p .solcx
target=.solcx/solc-v$version
for native in "${SOLC:-}" "$HOME/.solcx/solc-v$version" "$(command -v solc || true)"; do
  if [ -n "$native" ] && [ -x "$native" ] && "$native" --version 2>/dev/null | grep -q "Version: $version+"; then
    ln -sf "$(realpath "$native")" "$target"
    exit 0
  fi
done
ln -sf ../setup/solc-launcher.mjs "$target"
"$target" --version >/dev/null
