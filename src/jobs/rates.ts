// Rates and times as people read them.

export function describeRate(pairs: number, tokens: number, seconds: number): string {
  const rate = (count: number) => (seconds > 0 ? count / seconds : 0);
  return `${rate(pairs).toFixed(1)} pairs/s, ${Math.round(rate(tokens))} tokens/s`;
}

/** 1:02:03 */
export function formatTime(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

// A log of a night should be readable in the morning.
const EVERY_MS = 30_000;

/** Lines for logs, now and then, where no terminal is there to show a moving one. */
export function plainLine(stream: NodeJS.WriteStream, quiet = false): (text: string) => void {
  let last = Date.now();
  return (text) => {
    if (stream.isTTY || quiet || Date.now() - last < EVERY_MS) return;
    last = Date.now();
    stream.write(`${text}\n`);
  };
}
