"""One suite for every rung of the ladder, and for anyone's engine: the same cases, held against PyTorch."""
