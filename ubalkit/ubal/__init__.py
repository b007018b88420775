"""UBAL, the model: the network, its hyperparameters, its weights in a file, a classifier, and its rivals."""
