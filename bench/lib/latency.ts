import { createHistogram } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { PreciseTimer } from './precise_timer.js'
import { monotonicMs } from './worker.js'

/** Latencies in milliseconds. */
export interface LatencyFigures {
  readonly count: number
  readonly p50Ms: number
  readonly p90Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly maxMs: number
}

const microsecondsMax = 600_000_000

/** Records latencies from 1 microsecond to 10 minutes with three significant digits. */
export class LatencyHistogram {
  readonly #histogram = createHistogram({ lowest: 1, highest: microsecondsMax, figures: 3 })

  /** @param sinceMs its intended start, on the monotonic clock */
  recordSince(sinceMs: number): void {
    const microseconds = Math.round((monotonicMs() - sinceMs) * 1000)
    this.#histogram.record(Math.min(Math.max(microseconds, 1), microsecondsMax))
  }

  /** Clears the recorded latencies: at the end of a warm-up. */
  reset(): void {
    this.#histogram.reset()
  }

  figures(): LatencyFigures {
    const percentileMs = (percent: number): number => this.#histogram.percentile(percent) / 1000
    return {
      count: this.#histogram.count,
      p50Ms: percentileMs(50),
      p90Ms: percentileMs(90),
      p99Ms: percentileMs(99),
      p999Ms: percentileMs(99.9),
      maxMs: this.#histogram.max / 1000,
    }
  }
}

/** Each wake-up costs processor time, so bursts of many messages come less often. */
const burstEveryMs = { upTo20kPerS: 0.2, above: 1 } as const
const longPauseMs = 20
/** One turn of the event loop sends no more than this, so that the process reads replies in between. */
const burstMessagesMax = 1_000

/**
 * Sends at a fixed rate, whatever happens to earlier messages: a late send keeps its intended time, so that a stall
 * shows in every message that it delayed and not only in one.
 * @param send gets the intended time on the monotonic clock, in milliseconds; must not throw
 * @param hasRoom whether another send is allowed; otherwise messages are late, and their intended times show it
 * @returns when `signal` is aborted
 */
export async function sendAtRate(
  messagesPerS: number,
  send: (intendedMs: number) => void,
  signal: AbortSignal,
  hasRoom: () => boolean = () => true,
): Promise<void> {
  const stepMs = 1000 / messagesPerS
  const pauseMsMin = messagesPerS > 20_000 ? burstEveryMs.above : burstEveryMs.upTo20kPerS
  const timer = await PreciseTimer.start()
  try {
    let dueMs = monotonicMs()
    while (!signal.aborted) {
      const nowMs = monotonicMs()
      let sent = 0
      while (dueMs <= nowMs && sent < burstMessagesMax && !signal.aborted && hasRoom()) {
        send(dueMs)
        dueMs += stepMs
        sent++
      }
      if (sent === burstMessagesMax) await new Promise((resolve) => setImmediate(resolve))
      else await pause(timer, Math.max(dueMs - monotonicMs(), pauseMsMin), signal)
    }
  } finally {
    await timer.close()
  }
}

/** A long sleep can be interrupted, and one more millisecond does not matter. */
async function pause(timer: PreciseTimer, ms: number, signal: AbortSignal): Promise<void> {
  if (ms < longPauseMs) await timer.sleep(ms)
  else await sleep(ms - 1, undefined, { signal }).catch(() => {})
}
