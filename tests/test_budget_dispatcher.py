"""The dispatcher: earliest deadline first, hopeless views dropped, speech never, best effort last."""

from hypothesis import given
from hypothesis import strategies as st

from streamsvc.budget import Class, Dispatcher, Job
from streamsvc.budget.dispatcher import Rules

MS = 1_000_000


def view(id: int, deadline_ms: int, floor_ms: int = 5, stream: str = "v") -> Job:
    return Job(id, stream, Class.VIEW, deadline_ms * MS, floor_ms * MS)


def speech(id: int, deadline_ms: int, stream: str = "s", whole_ms: int = 0) -> Job:
    return Job(id, stream, Class.SPEECH, deadline_ms * MS, whole_ms * MS)


def test_the_earliest_deadline_runs_first() -> None:
    d = Dispatcher(1)
    for job in (view(1, 90), view(2, 40, stream="w"), speech(3, 60)):
        d.submit(job)
    order = []
    for _ in range(3):
        job, _ = d.pick(0, 0)
        assert job is not None
        order.append(job.id)
        d.finished(job.id)
    assert order == [2, 3, 1]


def test_a_more_urgent_job_takes_the_lane_at_the_next_slice() -> None:
    d = Dispatcher(1)
    d.submit(view(1, 90))
    assert d.pick(0, 0)[0] == view(1, 90)
    d.submit(view(2, 30, stream="w"))
    d.yielded(1)
    job, _ = d.pick(0, 10 * MS)
    assert job is not None and job.id == 2


def test_a_fourth_waiting_frame_set_displaces_the_oldest_of_its_stream() -> None:
    d = Dispatcher(1)
    assert not any(d.submit(view(number, 20 + 30 * number)) for number in (1, 2, 3))
    dropped = d.submit(view(4, 140))
    assert [(x.job.id, x.reason) for x in dropped] == [(1, "superseded")]
    assert d.submit(view(5, 50, stream="other")) == []


def test_a_frame_set_does_not_displace_best_effort_of_its_stream() -> None:
    d = Dispatcher(1)
    d.submit(Job(9, "v", Class.BEST_EFFORT, 0))
    assert not any(d.submit(view(number, 20 + 30 * number)) for number in (1, 2, 3))
    assert [x.job.id for x in d.submit(view(4, 140))] == [1]


def test_a_view_that_cannot_make_it_even_at_its_floor_is_never_started() -> None:
    d = Dispatcher(1)
    d.submit(view(1, 20, floor_ms=15))
    job, dropped = d.pick(0, 6 * MS)
    assert job is None and [(x.job.id, x.reason) for x in dropped] == [(1, "hopeless")]


def test_a_view_that_was_started_is_not_abandoned() -> None:
    d = Dispatcher(1)
    d.submit(view(1, 20, floor_ms=15))
    assert d.pick(0, 0)[0] is not None
    d.yielded(1)
    assert d.pick(0, 19 * MS) == (view(1, 20, floor_ms=15), [])


def test_late_speech_still_runs() -> None:
    d = Dispatcher(1)
    d.submit(speech(1, 10))
    assert d.pick(0, 5000 * MS)[0] == speech(1, 10)


def test_at_most_one_lane_runs_speech() -> None:
    d = Dispatcher(2)
    d.submit(speech(1, 10))
    d.submit(speech(2, 10, stream="t"))
    assert d.pick(0, 0)[0] is not None
    assert d.pick(1, 0)[0] is None
    d.finished(1)
    assert d.pick(1, 0)[0] is not None


def test_best_effort_runs_only_when_nothing_live_can() -> None:
    d = Dispatcher(1)
    d.submit(Job(1, "b", Class.BEST_EFFORT, 0))
    d.submit(view(2, 500))
    assert d.pick(0, 0)[0] == view(2, 500)
    d.finished(2)
    job, _ = d.pick(0, 0)
    assert job is not None and job.id == 1


def test_closing_a_stream_forgets_what_no_lane_runs() -> None:
    d = Dispatcher(1)
    d.submit(view(1, 50))
    d.submit(view(2, 60))
    d.pick(0, 0)
    assert [x.job.id for x in d.close_stream("v")] == [2]
    assert d.statistics().running == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 200), st.integers(1, 40), st.sampled_from(["view", "speech"])),
        max_size=30,
    ),
    st.integers(1, 3),
)
def test_every_job_ends_exactly_once_and_no_job_is_on_two_lanes(
    spec: list[tuple[int, int, int, str]], lanes: int
) -> None:
    d = Dispatcher(lanes)
    ended: list[int] = []
    for i, (stream, deadline, floor, kind) in enumerate(spec):
        job = view(i, deadline, floor, f"v{stream}") if kind == "view" else speech(i, deadline, f"s{stream}")
        ended += [x.job.id for x in d.submit(job)]
    now = 0
    running: dict[int, int] = {}
    for _ in range(3 * len(spec) + lanes):
        for lane in range(lanes):
            if lane in running:
                d.finished(running.pop(lane))
            job, dropped = d.pick(lane, now)
            ended += [x.job.id for x in dropped]
            if job is not None:
                assert job.id not in running.values()
                assert job.kind is Class.SPEECH or now + job.floor_ns <= job.deadline_ns
                running[lane] = job.id
                ended.append(job.id)
        now += 7 * MS
    assert sorted(ended) == list(range(len(spec)))


def test_speech_overtakes_the_views_when_it_could_not_start_any_later() -> None:
    d = Dispatcher(1)
    d.submit(Job(1, "s", Class.SPEECH, 700 * MS, 95 * MS))
    d.submit(view(2, 100))
    assert d.pick(0, 0)[0] == view(2, 100)
    d.finished(2)
    d.submit(view(3, 680))
    job, _ = d.pick(0, 590 * MS)
    assert job is not None and job.id == 1


def test_speech_that_waits_for_speech_starts_early_enough_for_both() -> None:
    d = Dispatcher(1)
    for i in (1, 2):
        d.submit(Job(i, f"s{i}", Class.SPEECH, 700 * MS, 95 * MS))
    d.submit(view(3, 500))
    job, _ = d.pick(0, 400 * MS)
    assert job is not None and job.id == 3
    d.finished(3)
    d.submit(view(4, 600))
    job, _ = d.pick(0, 490 * MS)
    assert job is not None and job.id == 1


def test_a_rung_is_lowered_to_save_a_waiting_job_but_not_for_one_that_is_lost_anyway() -> None:
    d = Dispatcher(1)
    costs = [8 * MS, 13 * MS, 20 * MS]
    d.submit(view(1, 90, floor_ms=8))
    assert d.pick(0, 0)[0] is not None
    assert d.afford(1, 0, costs) == 2
    d.submit(view(2, 22, floor_ms=8, stream="w"))
    assert d.afford(1, 0, costs) == 1
    d.submit(view(3, 5, floor_ms=4, stream="x"))
    assert d.afford(1, 0, costs) == 1
    assert d.afford(1, 80 * MS, costs) == 0, "its own deadline allows no more"


def test_best_effort_waits_when_a_frame_is_due_that_one_of_its_slices_would_spoil() -> None:
    for slice_ms, runs in ((25, True), (100, False)):
        d = Dispatcher(1)
        d.submit(Job(1, "v", Class.VIEW, 90 * MS, 8 * MS, 33 * MS))
        d.pick(0, 0)
        d.finished(1)
        d.submit(Job(2, "b", Class.BEST_EFFORT, 0, slice_ns=slice_ms * MS))
        assert (d.pick(0, 20 * MS)[0] is not None) is runs


def test_best_effort_of_any_length_may_take_one_of_two_idle_lanes_and_leaves_the_other() -> None:
    d = Dispatcher(2)
    d.submit(Job(1, "v", Class.VIEW, 90 * MS, 8 * MS, 33 * MS))
    for i in (2, 3):
        d.submit(Job(i, f"b{i}", Class.BEST_EFFORT, 0, slice_ns=400 * MS))
    assert d.pick(0, 0)[0] is not None
    assert d.pick(1, 0)[0] is None, "a frame runs and another is due within the slice"
    d.finished(1)
    job, _ = d.pick(1, 8 * MS)
    assert job is not None and job.id == 2
    assert d.pick(0, 8 * MS)[0] is None, "the last lane is kept for what comes"


def test_while_not_even_the_floors_fit_best_effort_waits() -> None:
    d = Dispatcher(2)
    d.submit(Job(1, "b", Class.BEST_EFFORT, 0))
    assert d.pick(0, 0, crowded=True) == (None, [])
    d.submit(Job(2, "v", Class.VIEW, 100 * MS))
    found, _ = d.pick(0, 0, crowded=True)
    assert found is not None and found.id == 2, "what is live goes on"
    d.finished(2)
    found, _ = d.pick(0, 0)
    assert found is not None and found.id == 1


def test_beside_a_busy_lane_best_effort_takes_only_short_slices_however_much_time_there_is() -> None:
    for slice_ms, runs in ((25, True), (26, False)):
        d = Dispatcher(2)
        d.submit(view(1, 10_000))
        d.submit(Job(2, "b", Class.BEST_EFFORT, 0, slice_ns=slice_ms * MS))
        assert d.pick(0, 0)[0] == view(1, 10_000)
        assert (d.pick(1, 0)[0] is not None) is runs


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Class)),
            st.integers(0, 3),
            st.integers(0, 150),
            st.integers(1, 400),
            st.integers(1, 40),
        ),
        max_size=40,
    ),
    st.lists(st.integers(1, 25), min_size=1, max_size=40),
    st.integers(1, 3),
)
def test_lanes_never_idle_while_live_work_is_ready_nor_start_what_is_hopeless_and_decide_the_same_again(
    arrivals: list[tuple[Class, int, int, int, int]], slices: list[int], lanes: int
) -> None:
    first, again = Dispatcher(lanes), Dispatcher(lanes)
    queue = sorted(enumerate(arrivals), key=lambda a: a[1][2])
    busy: dict[int, tuple[int, Job]] = {}
    waiting: dict[int, Job] = {}
    now = done = 0
    while queue or busy or now == 0:
        while queue and queue[0][1][2] * MS <= now:
            id, (kind, stream, at, budget, cost) = queue.pop(0)
            job = Job(id, f"{kind.value}{stream}", kind, (at + budget) * MS, cost * MS, slice_ns=25 * MS)
            dropped = first.submit(job)
            assert dropped == again.submit(job)
            waiting[id] = job
            for drop in dropped:
                del waiting[drop.job.id]
        for lane in range(lanes):
            if lane in busy:
                continue
            picked, dropped = first.pick(lane, now)
            assert (picked, dropped) == again.pick(lane, now)
            for drop in dropped:
                assert drop.job.kind is Class.VIEW and now + drop.job.floor_ns > drop.job.deadline_ns
                del waiting[drop.job.id]
            if picked is None:
                speaking = any(j.kind is Class.SPEECH for _, j in busy.values())
                assert all(j.kind is Class.BEST_EFFORT or speaking for j in waiting.values())
                continue
            assert picked.kind is not Class.VIEW or now + picked.floor_ns <= picked.deadline_ns
            if picked.kind is Class.BEST_EFFORT:
                assert not any(j.kind is Class.VIEW for j in waiting.values()), "live work goes first"
            del waiting[picked.id]
            busy[lane] = (now + slices[done % len(slices)] * MS, picked)
            done += 1
        now = min([t for t, _ in busy.values()] + [a[2] * MS for _, a in queue[:1]], default=now + MS)
        for lane in [n for n, (t, _) in busy.items() if t <= now]:
            first.finished(busy[lane][1].id)
            again.finished(busy.pop(lane)[1].id)
    assert first.statistics() == again.statistics()


def test_passes_are_begun_together_before_one_goes_on() -> None:
    d = Dispatcher(1, rules=Rules(together=2))
    for i, stream in enumerate("abc"):
        d.submit(speech(i, 100 + i, stream))
    order = []
    for _ in range(4):
        job, _ = d.pick(0, 0)
        assert job is not None
        order.append(job.id)
        d.yielded(job.id)
    assert order[:2] == [0, 1], "the second is begun before the first goes on"
    assert order[2:] == [0, 0], "the third waits: two are begun"
    d.finished(0)
    job, _ = d.pick(0, 0)
    assert job is not None and job.id == 2


def begun_with_company(now_ms: int) -> int:
    """Return which pass goes on at an instant: one that was begun, of which 30 ms are left to do by 100 ms, or a new
    one of 50 ms."""
    d = Dispatcher(1, rules=Rules(together=2))
    d.submit(speech(1, 100, "a", 40))
    assert d.pick(0, 0)[0] is not None
    d.submit(speech(2, 300, "b", 50))
    d.yielded(1, 10 * MS)
    job, _ = d.pick(0, now_ms * MS)
    assert job is not None
    return job.id


def test_a_pass_is_not_made_late_by_one_that_is_begun_before_it_goes_on() -> None:
    assert begun_with_company(10) == 2, "there is time for both"
    assert begun_with_company(30) == 1, "there is time for one"
    assert begun_with_company(80) == 2, "it is late in any case, and together they cost less"


def test_passes_that_are_computed_together_have_the_lane_in_time_for_the_first_ones_deadline() -> None:
    for together, ours in ((1, 9), (2, 1)):
        d = Dispatcher(1, rules=Rules(together=together))
        d.submit(speech(1, 200, "a", 50))
        d.submit(speech(2, 400, "b", 50))
        d.submit(view(9, 150))
        job, _ = d.pick(0, 80 * MS)
        assert job is not None and job.id == ours, "one after another the first may begin at 125 ms, together at 75"
