import { serveWorker, type WorkerTask } from '../../lib/worker.js'
import type { PeerQueueWorkerOptions } from './options.js'

/** A worker of a peer that handles what waits in a queue and acknowledges each message by itself. */
export interface PeerQueueWorker {
  /** Ends handling, closes the connection, and removes the queue when its options say so. */
  close(): Promise<void>
}

/** The handler of every worker: asynchronous, and does nothing. */
export async function handle(): Promise<void> {}

/**
 * Serves the worker of a peer's queue as a process: counts what it acknowledges.
 * @param connect begins to handle messages, up to `concurrency` at a time with `handle`; calls `acknowledged` with the bytes of
 * the value when the acknowledgement of a message is confirmed, or sent where the protocol confirms none
 */
export function serveQueueWorker(
  connect: (
    options: PeerQueueWorkerOptions,
    acknowledged: (valueBytes: number) => void,
  ) => Promise<PeerQueueWorker>,
): Promise<void> {
  return serveWorker(async (options: PeerQueueWorkerOptions): Promise<WorkerTask> => {
    let messages = 0
    let bytes = 0
    const worker = await connect(options, (valueBytes) => {
      messages++
      bytes += valueBytes
    })
    return { count: () => ({ messages, bytes }), stop: () => worker.close() }
  })
}
