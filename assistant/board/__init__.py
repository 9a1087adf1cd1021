"""What the assistant knows of the board it runs on: which it is, what memory it leaves, how fast it is."""
