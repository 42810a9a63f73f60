"""How the processes of a Ray start on a machine that has far more to do than it can: soon where they can, or late."""

from __future__ import annotations

STARTING = {
    # A node looks for its object store before that is there, and again a second later where nothing is said.
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
    # A node is given up after half a minute, a dashboard after one, and both wait for interpreters that import.
    "RAY_raylet_start_wait_time_s": "200",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "200",
}
