"""What runs on this board: predicting memory, choosing models, stepping down and up."""
