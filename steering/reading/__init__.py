"""Reading a model under teacher forcing: activations, and likelihoods of answers."""
