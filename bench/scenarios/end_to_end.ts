import { type BenchContext, type Scenario, shapeName, throughputDetails } from '../lib/scenario.js'
import { runEndToEnd } from '../sdk/sdk.js'

interface Case {
  readonly messageBytes: number
  readonly publish: 'bulk' | 'promises'
  readonly consume: 'batches' | 'messages'
  /** Messages/s. */
  readonly target?: number
}

/** What the project wants to reach with two processors for the clients and the broker together. */
const cases: readonly Case[] = [
  { messageBytes: 100, publish: 'bulk', consume: 'batches', target: 500_000 },
  { messageBytes: 1024, publish: 'bulk', consume: 'batches', target: 90e6 / 1024 },
  { messageBytes: 16 * 1024, publish: 'bulk', consume: 'batches' },
  { messageBytes: 100, publish: 'promises', consume: 'batches', target: 250_000 },
  { messageBytes: 100, publish: 'promises', consume: 'messages' },
]

/** From a publisher through the broker to a consumer that acknowledges in a group. */
export const endToEndScenario: Scenario = {
  name: 'end-to-end',
  summary: 'from publisher to consumer, by batch and one by one',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const { interval, dataRoot } = context
    const chosen = context.quick ? cases.filter(({ messageBytes }) => messageBytes === 100) : cases
    for (const { messageBytes, publish, consume, target } of chosen) {
      const shape = { messageBytes, promises: publish === 'promises', consume: true }
      const pipe = await context.pipe(shape)
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
