"""The libraries that hear, think and speak: one file each, and nothing else imports them."""

import os

# onnxruntime 1.29 and later tell their maker which models are run, unless this is set when it is imported,
# which the package piper does, too: hence here, ahead of all of them
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
