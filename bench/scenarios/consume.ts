import { type BenchContext, type Scenario, sizeName, throughputDetails } from '../lib/scenario.js'
import type { Throughput } from '../lib/throughput.js'
import { runEndToEnd, withFilledTopic } from '../sdk/sdk.js'

const mebibyte = 1024 * 1024

/**
 * Reads without a group. From the start: old messages, more than the broker keeps in memory, so from
 * the journal, without publishers. At the tail: messages of a publisher at full speed, from memory.
 */
export const consumeScenario: Scenario = {
  name: 'consume',
  summary: 'batches() from the first message on and at the tail, without a group',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const { interval, dataRoot } = context
    const logBytes = (context.quick ? 32 : 512) * mebibyte
    for (const messageBytes of context.quick ? [100] : [100, 1024]) {
      const work = { messageBytes, dataRoot, ...interval }
      context.progress(`publishing what is read, ${sizeName(messageBytes)}`)
      await withFilledTopic({ ...work, logBytes }, (measure) =>
        measureConsume(context, messageBytes, 'from the start', measure),
      )
      await measureConsume(context, messageBytes, 'at the tail', () =>
        runEndToEnd({ ...work, publish: 'bulk', consume: 'tail' }),
      )
    }
  },
}

async function measureConsume(
  context: BenchContext,
  messageBytes: number,
  where: string,
  run: () => Promise<Throughput>,
): Promise<void> {
  // The pipe keeps no log: its end to end is the closest figure.
  const pipe = await context.pipe({ messageBytes, promises: false, consume: true })
  const name = `consume ${where}, ${sizeName(messageBytes)}`
  await context.measure({ name, unit: 'messages/s', better: 'higher', pipe }, async () => {
    const throughput = await run()
    const { messagesPerS, series = [] } = throughput
    return { value: messagesPerS, details: throughputDetails(throughput), series }
  })
}
