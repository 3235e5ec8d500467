"""What holds for every input of a box, not only for samples of it: enclosures of Jacobians, Lipschitz constants, signs."""
