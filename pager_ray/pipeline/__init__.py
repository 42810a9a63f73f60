"""The main job: panoramas in, geometry out, as Ray Data stages; :func:`pager_ray.pipeline.job.run_job` runs it.

Nothing is imported here: a CPU worker loads its own stage's module, and no torch with it.
"""
