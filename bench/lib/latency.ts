import { createHistogram } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from './worker.js'

/** Latencies in milliseconds. */
export interface LatencyFigures {
  readonly count: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly maxMs: number
}

const microsecondsMax = 600_000_000

/** Records latencies from 1 microsecond to 10 minutes with three significant digits. */
export class LatencyHistogram {
  readonly #histogram = createHistogram({ lowest: 1, highest: microsecondsMax, figures: 3 })

  /** @param sinceMs when it should have begun, on the monotonic clock */
  recordSince(sinceMs: number): void {
    const microseconds = Math.round((monotonicMs() - sinceMs) * 1000)
    this.#histogram.record(Math.min(Math.max(microseconds, 1), microsecondsMax))
  }

  /** Forgets what was recorded: at the end of a warm-up. */
  reset(): void {
    this.#histogram.reset()
  }

  figures(): LatencyFigures {
    const percentileMs = (percent: number): number => this.#histogram.percentile(percent) / 1000
    return {
      count: this.#histogram.count,
      p50Ms: percentileMs(50),
      p99Ms: percentileMs(99),
      p999Ms: percentileMs(99.9),
      maxMs: this.#histogram.max / 1000,
    }
  }
}

/**
 * Sends at a fixed rate whatever becomes of what was sent before: a late send keeps its intended time, so that a stall
 * shows in every message that it delayed and not only in one.
 * @param send gets the intended time on the monotonic clock, in milliseconds; must not throw
 * @returns when `signal` is aborted
 */
export async function sendAtRate(
  messagesPerS: number,
  send: (intendedMs: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const stepMs = 1000 / messagesPerS
  let dueMs = monotonicMs()
  while (!signal.aborted) {
    for (const nowMs = monotonicMs(); dueMs <= nowMs && !signal.aborted; dueMs += stepMs) send(dueMs)
    await sleep(Math.max(dueMs - monotonicMs(), 0))
  }
}
