"""Training: rendered scenes, losses and the loop that makes a checkpoint of them."""
