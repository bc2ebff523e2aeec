"""Anomalies: what agents do that is unlike what they did before."""

from __future__ import annotations

from holdfast.explain.alarm import Alarm, AlarmPart

__all__ = ["Alarm", "AlarmPart"]
