// A short, soft tone: those who hold a board look at the cameras, not at the page.

let context = null;

export function chime() {
  try {
    context ??= new AudioContext();
  } catch {
    return; // without sound the words have to do
  }
  const [start, tone, volume] = [context.currentTime, context.createOscillator(), context.createGain()];
  tone.frequency.value = 880;
  volume.gain.setValueAtTime(0.12, start);
  volume.gain.exponentialRampToValueAtTime(0.001, start + 0.25);
  tone.connect(volume).connect(context.destination);
  tone.start(start);
  tone.stop(start + 0.25);
}
