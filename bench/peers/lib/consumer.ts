import { LatencyHistogram } from '../../lib/latency.js'
import { serveWorker, type WorkerTask } from '../../lib/worker.js'
import type { PeerConsumerOptions } from './options.js'

/** A consumer of a peer that receives, and acknowledges what it has received. */
export interface PeerConsumer {
  /** Ends receiving, closes the connection, and removes the topic when its options say so. */
  close(): Promise<void>
}

export type ReceiveValue = (value: Uint8Array | string) => void

/**
 * Serves the consumer of a peer as a worker: counts what it receives.
 * @param connect resolves when messages that are published from now on will be received; calls `receive` with the value of
 * each message, which is not kept; unless latency is measured it may be a string with one character for each byte
 */
export function serveConsumer(
  connect: (options: PeerConsumerOptions, receive: ReceiveValue) => Promise<PeerConsumer>,
): Promise<void> {
  return serveWorker(async (options: PeerConsumerOptions): Promise<WorkerTask> => {
    const histogram = new LatencyHistogram()
    let messages = 0
    let bytes = 0
    const receive: ReceiveValue = (value) => {
      if (options.latency && messages === 0) setTimeout(() => histogram.reset(), options.warmUpMs)
      messages++
      bytes += value.length
      if (options.latency && typeof value !== 'string')
        histogram.recordSince(Buffer.from(value.buffer, value.byteOffset, 8).readDoubleLE())
    }
    const consumer = await connect(options, receive)
    return {
      count: () => ({ messages, bytes }),
      stop: async () => {
        const figures = histogram.figures()
        await consumer.close()
        return figures
      },
    }
  })
}
