"""`assistant devices`: what can be heard with and spoken through."""

from __future__ import annotations

import argparse

HELP = "list microphones and speakers by the names that config.toml takes"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="a JSON list")


def run(words: argparse.Namespace) -> int:
    import json

    from assistant.audio.devices import list_devices
    from assistant.text.clean import printable

    devices = list_devices()
    if words.json:
        fields = ("kind", "name", "other_names", "description", "default_rate_hz", "channels")
        print(json.dumps([{field: getattr(device, field) for field in fields} for device in devices]))
        return 0
    for kind in ("microphone", "speaker"):
        found = [device for device in devices if device.kind == kind]
        print(f"{kind}s:" if found else f"{kind}s: none; plug one in, then look again.")
        for device in found:
            form = (
                f"{device.default_rate_hz} Hz, {device.channels} channel{'s' if device.channels > 1 else ''}"
            )
            print(f'  "{printable(device.name)}"  {device.description} ({form})')
            if device.other_names:
                print("      also " + ", ".join(f'"{printable(name)}"' for name in device.other_names))
    if devices:
        print('\nPut a name into config.toml: [audio] microphone = "…"')
    return 0
