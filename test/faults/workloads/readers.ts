import { isMillraceError, type Topic } from '../../../client/index.js'
import { monotonicUs } from '../history/history.js'
import type { SizedValue } from './values.js'
import type { WorkloadContext } from './workload.js'

/** Reads all partitions of a topic without a group from the start and waits at the end; a reader that fails starts again. */
export async function soloReader(
  context: WorkloadContext,
  topic: Topic<SizedValue>,
  partitions: number,
  name: string,
): Promise<void> {
  const { history, stop } = context
  const all = Array.from({ length: partitions }, (_, partition) => ({ topic: topic.name, partition }))
  for (let life = 0; !stop.aborted; life++) {
    const process = `${name}.${life}`
    const client = await context.client()
    history.write({ type: 'assigned', at: monotonicUs(), process, group: null, partitions: all })
    try {
      const consumer = client.consume(topic, { from: 'earliest', signal: stop })
      for await (const { topic: of, partition, messages } of consumer.batches({ messagesMax: 500 })) {
        const records = messages.map(({ offset, value }) => [offset, value.id] as const)
        history.write({
          type: 'delivered',
          at: monotonicUs(),
          process,
          group: null,
          topic: of,
          partition,
          records,
        })
        context.progress(0, records.length)
      }
    } catch (error) {
      if (!isMillraceError(error)) throw error
    } finally {
      history.write({ type: 'revoked', at: monotonicUs(), process, group: null, partitions: all })
      await client.close({ timeoutMs: 0 })
    }
  }
}
