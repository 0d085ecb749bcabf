import { type Interval, measureThroughput, type Throughput } from '../lib/throughput.js'
import { monotonicMs, type Worker, waitForMessages } from '../lib/worker.js'
import type { ReceiptFigures } from './publisher.js'
import { createTopic, repeated, topic, withBroker } from './sdk.js'

/** The total rate of all groups, and whether they keep up. */
export interface FanOut extends Throughput {
  readonly publishedPerS: number
  /** At the end of the interval: acknowledged messages that the slowest group had not received yet. */
  readonly slowestBehind: number
  /** Time from the last publish until every group had received everything. */
  readonly caughtUpMs: number
}

export interface FanOutWork extends Interval {
  readonly groups: number
  readonly messageBytes: number
  /** Undefined: full speed. */
  readonly messagesPerS: number | undefined
  readonly dataRoot: string
}

/** Processes that the groups share: one for each would measure the context switches of a machine with few cores. */
const workersMax = 2

/**
 * One publisher and several groups that each receive everything.
 * @throws Error if a group has not received everything in the end
 */
export function runFanOut(work: FanOutWork): Promise<FanOut> {
  const { messageBytes, messagesPerS, groups } = work
  return withBroker(work.dataRoot, async ({ broker, port, start }) => {
    await createTopic(port)
    const consumers: Worker[] = []
    for (const names of shared(groups)) {
      const options = { port, topic, mode: 'batches', groups: names, latency: false, warmUpMs: 0 } as const
      consumers.push(await start('consumer', options))
    }
    const rate = messagesPerS === undefined ? {} : { messagesPerS }
    const mode = messagesPerS === undefined ? 'bulk' : 'rate'
    const data = repeated(messageBytes)
    const publisher = await start('publisher', { port, topic, data, mode, ...rate })
    const before = await publisher.sample()
    const throughput = await measureThroughput(consumers, [broker, publisher], work)
    const after = await publisher.sample()
    const slowest = await slowestOf(consumers)
    const published = (await publisher.stop()) as ReceiptFigures
    const stoppedMs = monotonicMs()
    for (const [i, names] of shared(groups).entries())
      await waitForMessages(consumers[i] as Worker, published.messages * names.length)
    const caughtUpMs = monotonicMs() - stoppedMs
    if ((await slowestOf(consumers)) !== published.messages)
      throw new Error(`a group has not received all of ${published.messages} messages`)
    return {
      ...throughput,
      publishedPerS: ((after.messages - before.messages) * 1000) / (after.timeMs - before.timeMs),
      slowestBehind: Math.max(after.messages - slowest, 0),
      caughtUpMs,
    }
  })
}

/** Names of the groups of each worker. */
function shared(groups: number): readonly (readonly string[])[] {
  const names = Array.from({ length: groups }, (_, i) => `group-${i}`)
  const workers = Math.min(workersMax, groups)
  return Array.from({ length: workers }, (_, worker) => names.filter((_name, i) => i % workers === worker))
}

async function slowestOf(consumers: readonly Worker[]): Promise<number> {
  const samples = await Promise.all(consumers.map((consumer) => consumer.sample()))
  return Math.min(...samples.flatMap(({ messagesByClient = [] }) => messagesByClient))
}
