import type { DelayFigures } from '../../lib/contender.js'
import { LatencyHistogram } from '../../lib/latency.js'
import { monotonicMs, serveWorker, type WorkerTask } from '../../lib/worker.js'
import type { PeerDelayerOptions } from './options.js'

/** A connected client of a peer that delivers messages later. Due times are of the system's clock, as `Date.now()` tells. */
export interface PeerDelayer {
  /** Gives the server so many messages; resolves when it has acknowledged all. @param dueMs when the one of that index is due */
  arm(messages: number, dueMs: (index: number) => number): Promise<void>
  /** Begins to receive what is due; calls `received` with the due time of each message. */
  receive(received: (dueMs: number) => void): Promise<void>
  /** Ends receiving and closes the connection. */
  close(): Promise<void>
}

const dayMs = 86_400_000
/** Time to arm those that are fired before the first is due: this, and twice as long as arming took before. */
const leadMsMin = 1_000
const leadFactor = 2

/** Serves such a client as a worker, which arms messages for tomorrow, and then those that it receives. */
export function serveDelayer(connect: (options: PeerDelayerOptions) => Promise<PeerDelayer>): Promise<void> {
  return serveWorker(async (options: PeerDelayerOptions): Promise<WorkerTask> => {
    const delayer = await connect(options)
    let messages = 0
    return {
      count: () => ({ messages, bytes: messages * options.messageBytes }),
      begin: () => measure(delayer, options, () => ++messages),
      stop: () => delayer.close(),
    }
  })
}

async function measure(
  delayer: PeerDelayer,
  { armed, fired, firedPerS }: PeerDelayerOptions,
  count: () => number,
): Promise<DelayFigures> {
  const startedMs = monotonicMs()
  const tomorrowMs = Date.now() + dayMs
  await delayer.arm(armed, (i) => tomorrowMs + i)
  const armMs = monotonicMs() - startedMs
  const late = new LatencyHistogram()
  let firstMs = 0
  let lastMs = 0
  const all = new Promise<void>((resolve, reject) => {
    const received = (dueMs: number): void => {
      lastMs = monotonicMs()
      late.recordSince(lastMs - Math.max(0, Date.now() - dueMs))
      const counted = count()
      if (counted === 1) firstMs = lastMs
      if (counted === fired) resolve()
    }
    delayer.receive(received).catch(reject)
  })
  const beginMs = Date.now() + leadMsMin + (leadFactor * fired * armMs) / armed
  const arming = delayer.arm(fired, (i) => Math.floor(beginMs + (i * 1000) / firedPerS))
  await Promise.all([all, arming])
  return { armed, armMs, late: late.figures(), receivedPerS: (fired / (lastMs - firstMs)) * 1000 }
}
