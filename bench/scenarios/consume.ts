import { type BenchContext, type Scenario, sizeName, throughputDetails } from '../lib/scenario.js'
import { runConsume } from '../sdk/sdk.js'

const mebibyte = 1024 * 1024

/** Reading what was published long ago: more than the broker keeps in memory, so from the journal. */
export const consumeScenario: Scenario = {
  name: 'consume',
  summary: 'batches() from the first message on, nobody publishes',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const { interval, dataRoot } = context
    const logBytes = (context.quick ? 96 : 512) * mebibyte
    for (const messageBytes of [100, 1024]) {
      // The pipe keeps nothing to read again: its end to end is the nearest.
      const pipe = await context.pipe({ messageBytes, promises: false, consume: true })
      await context.measure(
        {
          name: `consume from the start, ${sizeName(messageBytes)}`,
          unit: 'messages/s',
          better: 'higher',
          pipe,
        },
        async () => {
          const throughput = await runConsume({ messageBytes, logBytes, dataRoot, ...interval })
          return { value: throughput.messagesPerS, details: throughputDetails(throughput) }
        },
      )
    }
  },
}
