"""The models that the assistant knows by name: reading their list, finding them on disk, fetching them."""
