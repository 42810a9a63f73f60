"""A panorama's journey as pure functions over Arrow blocks: read, infer, stitch, score; they know nothing of Ray.

Nothing is imported here: a CPU worker loads its own stage's module, and no torch with it.
"""
