import { setTimeout as sleep } from 'node:timers/promises'
import type { Compression } from '../../client/index.js'
import { monotonicMs, type Worker, waitForMessages } from '../lib/worker.js'
import { usageOf } from '../peers/lib/processes.js'
import type { MessageData } from './messages.js'
import { createTopic, topic, withBroker } from './sdk.js'

/** The written bytes for the published bytes. */
export interface WrittenBytes {
  readonly writtenBytes: number
  /** Of message values. */
  readonly publishedBytes: number
  /** From the first message until everything was acknowledged. */
  readonly publishMs: number
}

export interface WrittenBytesWork {
  readonly data: MessageData
  readonly compression?: Compression
  /** At full speed up to this many bytes of values, or at a rate for a while. */
  readonly amount: { readonly bytes: number } | { readonly messagesPerS: number; readonly durationMs: number }
  readonly dataRoot: string
  /** The broker works after the last message: it is idle after this time without writes. Default 2,500. */
  readonly idleMs?: number
}

const idleMsDefault = 2_500
const idleMsMax = 60_000
const pollMs = 100

/** Only Linux counts the writes of a process. */
export function tellsWrittenBytes(): boolean {
  return process.platform === 'linux'
}

/** Publishes and counts the writes of the broker's process until it is idle again, flushes and compactions included. */
export function runWrittenBytes(work: WrittenBytesWork): Promise<WrittenBytes> {
  return withBroker(work.dataRoot, async ({ broker, port, start }) => {
    const { data, compression, amount, idleMs = idleMsDefault } = work
    await createTopic(port)
    await untilIdle(broker, idleMs)
    const before = writtenBy(broker)
    const startedMs = monotonicMs()
    const common = { port, topic, data, ...(compression === undefined ? {} : { compression }) }
    let publisher: Worker
    if ('bytes' in amount) {
      const messagesMax = Math.ceil(amount.bytes / data.messageBytes)
      publisher = await start('publisher', { ...common, mode: 'bulk', messagesMax })
      await waitForMessages(publisher, messagesMax)
    } else {
      publisher = await start('publisher', { ...common, mode: 'rate', messagesPerS: amount.messagesPerS })
      await sleep(amount.durationMs)
    }
    const publishMs = monotonicMs() - startedMs
    const { bytes: publishedBytes } = (await publisher.stop()) as { readonly bytes: number }
    await untilIdle(broker, idleMs)
    return { writtenBytes: writtenBy(broker) - before, publishedBytes, publishMs }
  })
}

async function untilIdle(broker: Worker, idleMs: number): Promise<void> {
  const startedMs = monotonicMs()
  let [written, changedMs] = [writtenBy(broker), startedMs]
  while (monotonicMs() - changedMs < idleMs && monotonicMs() - startedMs < idleMsMax) {
    await sleep(pollMs)
    const now = writtenBy(broker)
    if (now !== written) [written, changedMs] = [now, monotonicMs()]
  }
}

function writtenBy(broker: Worker): number {
  return usageOf(broker.pid === undefined ? [] : [broker.pid]).writtenBytes
}
