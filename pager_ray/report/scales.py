"""What a person is told of the scales of a run's sequences."""

from __future__ import annotations

from pager_ray.runs.scales import ScaleReport


def scale_lines(report: ScaleReport) -> list[str]:
    """How much scales jitter from frame to frame, before and after; what was left as it is."""
    if not report.sequences:
        return ["scale     no prediction has a sequence, a time and a scale: nothing is to be made consistent"]
    many = f"{report.sequences:,} sequence{'s' if report.sequences > 1 else ''}"
    lines = [
        f"scale     from frame to frame {report.jitter_before:.2%} → {report.jitter_after:.2%} in {many} of "
        f"{report.frames:,} frames"
    ]
    if report.left:
        lines.append(f"          {report.left:,} predictions without a sequence or a time keep their own")
    return lines
