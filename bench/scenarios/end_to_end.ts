import { type BenchContext, type Scenario, shapeName, throughputDetails } from '../lib/scenario.js'
import { runEndToEnd } from '../sdk/sdk.js'

interface Case {
  readonly messageBytes: number
  readonly publish: 'bulk' | 'promises'
  readonly consume: 'batches' | 'messages'
  /** Messages/s. */
  readonly target?: number
  /** Also part of a quick run. */
  readonly isQuick?: true
}

/** Targets of the project with two processors for the clients and the broker together. */
const cases: readonly Case[] = [
  { messageBytes: 100, publish: 'bulk', consume: 'batches', target: 500_000, isQuick: true },
  { messageBytes: 1024, publish: 'bulk', consume: 'batches', target: 90e6 / 1024 },
  { messageBytes: 16 * 1024, publish: 'bulk', consume: 'batches' },
  { messageBytes: 100, publish: 'promises', consume: 'batches', target: 250_000 },
  { messageBytes: 100, publish: 'promises', consume: 'messages', isQuick: true },
]

/** From a publisher through the broker to a consumer that acknowledges in a group. */
export const endToEndScenario: Scenario = {
  name: 'end-to-end',
  summary: 'from publisher to consumer, by batch and one by one',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const { dataRoot } = context
    const chosen = context.quick ? cases.filter(({ isQuick }) => isQuick) : cases
    for (const { messageBytes, publish, consume, target } of chosen) {
      const shape = { messageBytes, promises: publish === 'promises', consume: true }
      const pipe = await context.pipe(shape)
      const interval = messageBytes <= 1024 ? context.interval : context.shortInterval
      const name = `${shapeName(shape)}${consume === 'messages' ? ', received one by one' : ''}`
      const goal = target === undefined ? {} : { target }
      await context.measure({ name, unit: 'messages/s', better: 'higher', pipe, ...goal }, async () => {
        const throughput = await runEndToEnd({ messageBytes, publish, consume, dataRoot, ...interval })
        const { messagesPerS, series = [] } = throughput
        return { value: messagesPerS, details: throughputDetails(throughput), series }
      })
    }
  },
}
