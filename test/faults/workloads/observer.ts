import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, isMillraceError } from '../../../client/index.js'
import type { HistoryWriter } from '../history/history.js'
import type { WorkloadContext } from './workload.js'

const everyMs = 250

/** Asks for the committed offsets of a group again and again. */
export async function offsetObserver(
  context: WorkloadContext,
  topic: { readonly name: string; readonly partitions: number },
  group: string,
  name: string,
): Promise<void> {
  const client = await context.client()
  while (!context.stop.aborted) {
    await readCommitted(context.history, client, { topic, group, process: name })
    await sleep(everyMs)
  }
}

export async function readCommitted(
  history: HistoryWriter,
  client: Client,
  what: {
    readonly topic: { readonly name: string; readonly partitions: number }
    readonly group: string
    readonly process: string
  },
): Promise<void> {
  const { topic, group, process } = what
  const calls = Array.from({ length: topic.partitions }, (_, partition) =>
    history.invoke(process, { op: 'committed', group, topic: topic.name, partition }),
  )
  try {
    const { partitions } = await client.groups.describe(group)
    const offsets = new Map(partitions.map((one) => [`${one.topic}/${one.partition}`, one.committedOffset]))
    for (const [partition, id] of calls.entries())
      history.outcome(process, id, 'ok', {
        partition,
        offset: offsets.get(`${topic.name}/${partition}`) ?? -1,
      })
  } catch (error) {
    if (!isMillraceError(error)) throw error
    for (const id of calls) history.outcome(process, id, 'info', { error: error.code })
  }
}
