"""Calls that end, and calls that don't although their connection did."""

from __future__ import annotations


def test_a_killed_service_is_told_and_the_call_comes_back_by_itself(visit, mortal):
    v = visit()
    v.forgive = ("ERR_CONNECTION_REFUSED", "WebSocket connection")
    v.join("again", url=mortal.url)
    v.in_call()
    v.until("window.streamsvc.stats.framesShown > 5")
    v.page.click("[data-call=settings]")
    v.page.locator("[data-set=budget]").fill("250")
    v.until("window.streamsvc.stats.live?.budget_ms === 250")
    mortal.kill()
    v.until("window.streamsvc.state === 'reconnecting'")
    overlay = v.page.locator("#overlay").inner_text()
    assert "Connection lost. Reconnecting" in overlay
    assert "You need do nothing" in overlay
    mortal.start()
    v.in_call()
    assert not v.page.locator("#overlay").is_visible()
    shown = v.stats()["framesShown"]
    v.until(f"window.streamsvc.stats.framesShown > {shown + 5}", "the view plays again")
    v.until("window.streamsvc.stats.live?.budget_ms === 250", "settings are kept")
    v.until("window.streamsvc.stats.live?.cameras === 2", "cameras are sent again")


def test_leaving_while_reconnecting_ends_it_and_joining_a_dead_service_is_told(visit, mortal):
    v = visit()
    v.forgive = ("ERR_CONNECTION_REFUSED", "WebSocket connection")
    v.join("enough", url=mortal.url, viewer=True)
    v.in_call()
    mortal.kill()
    v.until("window.streamsvc.state === 'reconnecting'")
    v.page.click("[data-call=leave]")
    v.until("window.streamsvc.state === 'idle'")
    v.page.click("#form [type=submit]")
    assert "The service does not answer" in v.problem()
    mortal.start()
    v.page.click("button:has-text('Try again')")
    v.in_call()


def test_leaving_closes_devices_and_one_can_join_again(visit, service):
    v = visit()
    v.context.add_init_script(
        """window.__tracks = []; const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (c) => {
          const s = await get(c); window.__tracks.push(...s.getTracks()); return s; };"""
    )
    v.join("leave", url=service.url)
    v.in_call()
    v.page.click("[data-call=leave]")
    v.page.locator("#form").wait_for()
    assert v.page.evaluate("window.__tracks.every((t) => t.readyState === 'ended')")
    v.choose(1, ask=True)
    v.page.click("#form [type=submit]")
    v.in_call()
    v.until("window.streamsvc.stats.live?.cameras === 1")


def test_an_unplugged_camera_is_told_and_the_call_goes_on(visit, service):
    v = visit()
    v.context.add_init_script(
        """window.__tracks = []; const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (c) => {
          const s = await get(c); window.__tracks.push(...s.getTracks()); return s; };"""
    )
    v.join("unplugged", url=service.url)
    v.in_call()
    v.page.evaluate(
        """() => { const t = window.__tracks.filter((t) => t.kind === 'video' && t.readyState === 'live').at(-1);
        t.stop(); t.dispatchEvent(new Event('ended')); }"""
    )
    v.until("window.streamsvc.stats.notices.some((n) => n.code === 'device-gone')")
    assert "went away" in v.page.locator("#toast").inner_text()
    v.page.evaluate("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
    v.until("window.streamsvc.stats.notices.some((n) => n.code === 'device-back')")
    assert v.page.evaluate("window.streamsvc.state") == "in-call"


def test_the_hook_is_read_only(visit, service):
    v = visit()
    v.page.goto(service.url)
    assert v.page.evaluate("window.streamsvc.state") == "idle"
    v.page.evaluate("() => { try { window.streamsvc.state = 'x'; } catch {} window.streamsvc.stats.framesShown = 99; }")
    assert v.page.evaluate("[window.streamsvc.state, window.streamsvc.stats.framesShown]") == ["idle", 0]
