import { setTimeout as sleep } from 'node:timers/promises'

const backoffMsMin = 50
const backoffMsMax = 2_000

/** How long to wait after `failures` in a row: doubling, with full jitter above the minimum. */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  const ceiling = Math.min(backoffMsMin * 2 ** Math.min(failures, 10), backoffMsMax)
  return backoffMsMin + random() * (ceiling - backoffMsMin)
}

/** Waits; ends early, without an error, when `signal` is aborted. */
export async function pauseMs(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal })
  } catch {
    // Aborted: whoever waits looks at the signal next.
  }
}
