"""Spend a deadline: pure decisions over clocks, deadlines, rungs and slices. Imports nothing of ours."""

from streamsvc.budget.clock import Clock, MockClock, MonotonicClock
from streamsvc.budget.cost import CostModel, Speed
from streamsvc.budget.deadline import AfterWorker, worker_deadline_ns
from streamsvc.budget.dispatcher import Class, Dispatcher, DispatcherStatistics, Dropped, Job
from streamsvc.budget.governor import Governed, Governor, Ticket
from streamsvc.budget.policies import DEFAULT_POLICY, POLICIES, Policy
from streamsvc.budget.rung import Rung
from streamsvc.budget.slices import Slices, run_to_end

__all__ = [
    "DEFAULT_POLICY",
    "POLICIES",
    "AfterWorker",
    "Class",
    "Clock",
    "CostModel",
    "Dispatcher",
    "DispatcherStatistics",
    "Dropped",
    "Governed",
    "Governor",
    "Job",
    "MockClock",
    "MonotonicClock",
    "Policy",
    "Rung",
    "Slices",
    "Speed",
    "Ticket",
    "run_to_end",
    "worker_deadline_ns",
]
