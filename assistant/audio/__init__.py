"""Sound: files, streams, microphones and speakers; the only package that opens sound devices."""
