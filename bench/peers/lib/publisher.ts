import { sendAtRate } from '../../lib/latency.js'
import { jsonLines } from '../../lib/sample_data.js'
import { serveWorker, type WorkerTask } from '../../lib/worker.js'
import type { PeerPublisherOptions } from './options.js'

/** A connected publisher of a peer. */
export interface PeerPublisher {
  /**
   * Publishes the value again and again, as fast as the client can, until `signal` is aborted; resolves when what was
   * sent is acknowledged.
   * @param acknowledged told how many messages the server has acknowledged
   */
  publishBulk(value: Buffer, acknowledged: (messages: number) => void, signal: AbortSignal): Promise<void>
  /** Publishes one message; resolves when it is acknowledged. */
  publish(value: Buffer): Promise<unknown>
  /** Closes the connection, and removes the topic when its options say so. */
  close(): Promise<void>
}

/** Serves the publisher of a peer as a worker: counts what is acknowledged. A publish that fails ends the worker. */
export function servePublisher(
  connect: (options: PeerPublisherOptions) => Promise<PeerPublisher>,
): Promise<void> {
  return serveWorker(async (options: PeerPublisherOptions): Promise<WorkerTask> => {
    const publisher = await connect(options)
    const value = jsonLines(options.messageBytes)
    const stopped = new AbortController()
    let messages = 0
    const acknowledged = (count: number): void => {
      messages += count
    }
    const finished =
      options.mode === 'bulk'
        ? publisher.publishBulk(value, acknowledged, stopped.signal)
        : publishAtRate(publisher, value, options.messagesPerS ?? 1_000, acknowledged, stopped.signal)
    return {
      count: () => ({ messages, bytes: messages * options.messageBytes }),
      stop: async () => {
        stopped.abort()
        await finished
        await publisher.close()
      },
    }
  })
}

async function publishAtRate(
  publisher: PeerPublisher,
  template: Buffer,
  messagesPerS: number,
  acknowledged: (messages: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const pending = new Set<Promise<unknown>>()
  const send = (intendedMs: number): void => {
    const value = Buffer.from(template)
    value.writeDoubleLE(intendedMs)
    // A rejection ends the worker: nothing handles it.
    const published = publisher.publish(value).then(() => {
      pending.delete(published)
      acknowledged(1)
    })
    pending.add(published)
  }
  await sendAtRate(messagesPerS, send, signal)
  await Promise.all(pending)
}
