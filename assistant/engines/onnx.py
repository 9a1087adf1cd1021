"""onnxruntime, which runs Piper's voices and Silero's network.  The one file that imports it."""

from __future__ import annotations

from onnxruntime import InferenceSession, RunOptions, SessionOptions
from onnxruntime.capi import onnxruntime_pybind11_state as state

__all__ = ["ERRORS", "InferenceSession", "RunOptions", "SessionOptions", "session_options"]

# they have no base class of their own
ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
)


def session_options(threads: int) -> SessionOptions:
    """For a model that is run with so many threads, beside which other stages work."""
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # a spinning thread would keep its core from the language model, which goes on while a sentence is made
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; they are raised as well
    return options
