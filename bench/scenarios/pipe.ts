import type { BenchContext, Scenario } from '../lib/scenario.js'

/** The yardstick on its own; other scenarios measure further shapes of work. */
export const pipeScenario: Scenario = {
  name: 'pipe',
  summary: 'the yardstick: a throw-away pipe with fsync and nothing else',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    for (const messageBytes of [100, 1024]) {
      await context.pipe({ messageBytes, promises: false, consume: false })
      await context.pipe({ messageBytes, promises: false, consume: true })
    }
    await context.pipe({ messageBytes: 100, promises: true, consume: true })
    await context.pipeLatency({ messageBytes: 100, messagesPerS: 1_000 })
  },
}
