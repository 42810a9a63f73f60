"""What a person reads when a job has ended."""

from pager_ray.report.summary import summary_lines

__all__ = ["summary_lines"]
