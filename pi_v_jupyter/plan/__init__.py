"""Plan mode: looking without touching. `readonly.py` judges commands, `ground.py` is what they are run on."""
