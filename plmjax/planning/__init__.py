"""What a run needs of machines that are not at hand: memory, operations, traffic, time."""
