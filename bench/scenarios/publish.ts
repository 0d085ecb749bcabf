import { type BenchContext, type Scenario, shapeName, throughputDetails } from '../lib/scenario.js'
import { runPublish } from '../sdk/sdk.js'

/** What the broker takes when nobody reads. */
export const publishScenario: Scenario = {
  name: 'publish',
  summary: 'publishMany, nobody consumes',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const { interval, dataRoot } = context
    for (const messageBytes of [100, 1024]) {
      const shape = { messageBytes, promises: false, consume: false }
      const pipe = await context.pipe(shape)
      await context.measure(
        { name: shapeName(shape), unit: 'messages/s', better: 'higher', pipe },
        async () => {
          const throughput = await runPublish({ messageBytes, dataRoot, ...interval })
          return { value: throughput.messagesPerS, details: throughputDetails(throughput) }
        },
      )
    }
  },
}
