"""The main job: panoramas in, geometry out, as Ray Data stages; :func:`pager_ray.pipeline.job.run_job` runs it.

Nothing is imported here: a CPU worker loads its own stage's module, and no torch with it.
"""

import os

# Under `uv run` Ray packs the current folder for its workers, and refuses large ones; on this machine they have it.
# Ray reads this when it is imported.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
