"""`assistant devices`: what can be heard with and spoken through."""

from __future__ import annotations

import argparse

HELP = "list microphones and speakers by the names that config.toml takes"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="a JSON list")


def run(words: argparse.Namespace) -> int:
    import json
    import os
    import sys

    from assistant.audio.devices import AUTO, KINDS, SERVER_SILENT, list_devices
    from assistant.audio.sound_server import is_silent
    from assistant.text.clean import printable

    devices = list_devices()
    is_lacking = any(all(device.kind != kind for device in devices) for kind in KINDS)
    is_lost = is_lacking and is_silent(os.environ, AUTO)
    none = f"none, {SERVER_SILENT}" if is_lost else "none; plug one in"
    if words.json:
        fields = ("kind", "name", "other_names", "description", "default_rate_hz", "channels")
        print(json.dumps([{field: getattr(device, field) for field in fields} for device in devices]))
        if is_lost:
            print(f"assistant: Some devices are missing, {SERVER_SILENT}.", file=sys.stderr)
        return int(is_lost)
    for kind in KINDS:
        found = [device for device in devices if device.kind == kind]
        print(f"{kind}s:" if found else f"{kind}s: {none}, then look again.")
        for device in found:
            form = (
                f"{device.default_rate_hz} Hz, {device.channels} channel{'s' if device.channels > 1 else ''}"
            )
            print(f'  "{printable(device.name)}"  {device.description} ({form})')
            if device.other_names:
                print("      also " + ", ".join(f'"{printable(name)}"' for name in device.other_names))
    if devices:
        print('\nPut a name into config.toml: [audio] microphone = "…"')
    return int(is_lost)
