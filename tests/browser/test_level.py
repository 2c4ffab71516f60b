"""How loud the microphone is: nothing is shown that isn't known, and nothing breaks where it can't be."""

from __future__ import annotations

# A loud tone as a track; `levels` are those that a meter showed.
TONE = """
  const { AudioContext } = window;
  const own = new AudioContext(), to = own.createMediaStreamDestination(), tone = own.createOscillator();
  tone.connect(to);
  tone.start();
  const [track] = to.stream.getAudioTracks();
  const levels = [], meter = new m.LevelMeter();
  const until = async (happened) => {
    const limit = performance.now() + 10_000;
    while (!happened()) {
      if (performance.now() > limit) throw new Error(`never true: ${happened}; ${levels.slice(-3)}`);
      await new Promise(requestAnimationFrame);
    }
  };
  const watch = () => meter.watch(track, (level) => levels.push(level));
"""


def test_a_track_that_ends_has_no_level(run):
    body = """
      watch();
      await until(() => levels.at(-1) > 0.5);
      track.stop();
      await until(() => levels.at(-1) === null);
      meter.stop();
      return [levels[0], meter.watches];
    """
    assert run("level", TONE + body) == [None, False]


def test_a_browser_without_sound_has_no_level(run):
    body = """
      window.AudioContext = function () { throw new DOMException("no sound", "NotSupportedError"); };
      watch();
      window.AudioContext = AudioContext;
      meter.stop();
      return levels;
    """
    assert run("level", TONE + body) == [None]


def test_sound_that_the_browser_holds_back_has_no_level_until_the_page_is_touched(run):
    body = """
      let touched = false;
      window.AudioContext = class extends AudioContext {
        get state() { return touched ? super.state : "suspended"; }
        async resume() { if (!touched) throw new DOMException("not yet", "NotAllowedError"); }
      };
      watch();
      await until(() => levels.length > 20);
      const before = levels.every((level) => level === null);
      addEventListener("click", () => (touched = true), { capture: true, once: true });
      document.documentElement.dispatchEvent(new Event("click", { bubbles: true }));
      await until(() => levels.at(-1) > 0.5);
      meter.stop();
      window.AudioContext = AudioContext;
      return before;
    """
    assert run("level", TONE + body) is True


def test_a_voice_is_not_judged_before_it_is_measured(run):
    assert "does not say yet" in run("quickcheck", "return m.judgeSound([]).text;")
    assert "Nothing is heard" in run("quickcheck", "return m.judgeSound([0, 0.05]).text;")
