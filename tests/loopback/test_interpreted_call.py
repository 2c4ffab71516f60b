"""A call that is really interpreted: recorded Spanish in, English captions and an English voice out, over WebRTC."""

from itertools import pairwise
from pathlib import Path

import sacrebleu
from calls import Call, service, until

from streamsvc.ledger import read_ledger
from streamsvc.peer import PeerOptions
from streamsvc.scene.talk import talk
from streamsvc.signalling import messages as wire
from streamsvc.signalling.messages import SpeechSettings
from streamsvc.speech.interpret import interpret

SECONDS = 14


def chrf(said: str, meant: str) -> float:
    return float(sacrebleu.corpus_chrf([said], [[meant]]).score)


async def test_captions_say_the_reference_and_the_voice_says_the_captions(tmp_path: Path) -> None:
    meant = " ".join(s.english for s in talk("es", SECONDS).segments)
    async with service(tmp_path, **{"speech.enabled": True}) as (running, url):
        options = PeerOptions(
            url=url,
            room="r",
            mirror=True,
            mic=f"synthetic:es:{SECONDS}",
            speech=SpeechSettings(source="es"),
            save=tmp_path / "saved",
        )
        async with Call(options) as call:
            peer = call.peer
            assert peer.microphone is not None
            await until(lambda: peer.figures.captions, "a first caption")
            # The policy may change in mid-call; nothing that was heard is lost.
            configured = await running.hub.participants[0].configure(
                wire.Configure(speech=SpeechSettings(policy="confidence", parameters={"threshold": 0.6}))
            )
            assert configured.settings["speech"]["policy"] == "confidence"
            await until(lambda: peer.microphone.ended, "the speaker has finished")  # type: ignore[union-attr]
            listener = running.hub.participants[0]
            spoken = 0

            def silent() -> bool:
                nonlocal spoken
                worker, words = running.worker.statistics(), len(peer.figures.captions)
                quiet = words == spoken and worker.waiting == 0 and listener.mixer.waiting_s == 0
                spoken = words
                return quiet

            for _ in range(40):  # two seconds in which nothing more was said
                await until(silent, "all was spoken")
            captions = [c.text for c in call.peer.figures.captions]
    said = " ".join(captions)
    assert chrf(said, meant) >= 60
    starts = [(c.source_start_ms, c.source_end_ms) for c in peer.figures.captions]
    assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(starts)), "in order, no overlap"
    heard = tmp_path / "heard.jsonl"
    figures = interpret(tmp_path / "saved" / "speech.wav", policy="offline", parameters={}, source="en", events=heard)
    back = str(figures["text"])
    assert chrf(back, said) >= 60
    passes = [r for r in read_ledger(tmp_path / "ledger.jsonl") if r.kind == "speech"]
    assert " ".join(r.text for r in passes if r.text).split() == said.split()
