from __future__ import annotations

import os
import subprocess
import sys

import pytest

SWITCH = "ORT_DISABLE_TELEMETRY"


@pytest.mark.parametrize("engine", ["onnx", "piper", "silero"])
def test_what_is_run_is_told_to_nobody(engine: str) -> None:
    """Whatever imports onnxruntime first, the switch is set before."""
    code = (
        "import os, sys; seen = [];"
        "sys.addaudithook(lambda event, args: event == 'import' and args[0] == 'onnxruntime'"
        f" and seen.append(os.environ.get('{SWITCH}')));"
        f"import assistant.engines.{engine}; assert set(seen) == {{'1'}}, seen"
    )
    plain = {name: value for name, value in os.environ.items() if name != SWITCH}
    subprocess.run([sys.executable, "-c", code], check=True, env=plain)
