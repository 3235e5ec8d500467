"""What a person reads: Jacobians in words, in pictures, in the terminal."""
