#!/usr/bin/env bash
# Every benchmark, one after the other: ./dev bench calls this. INFENCLAVE_MODELS names the folder of converted networks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build/venv/bin/python bench/engine.py "$@"
