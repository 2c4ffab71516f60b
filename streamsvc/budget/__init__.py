"""Spend a deadline: pure decisions over clocks, deadlines, rungs and slices. Imports nothing of ours."""

from streamsvc.budget.chooser import RungChooser
from streamsvc.budget.clock import Clock, MockClock, MonotonicClock
from streamsvc.budget.deadline import AfterWorker, worker_deadline_ns
from streamsvc.budget.dispatcher import Class, Dispatcher, DispatcherStatistics, Dropped, Job
from streamsvc.budget.rung import CostTracker, Rung
from streamsvc.budget.slices import Slices, run_to_end

__all__ = [
    "AfterWorker",
    "Class",
    "Clock",
    "CostTracker",
    "Dispatcher",
    "DispatcherStatistics",
    "Dropped",
    "Job",
    "MockClock",
    "MonotonicClock",
    "Rung",
    "RungChooser",
    "Slices",
    "run_to_end",
    "worker_deadline_ns",
]
