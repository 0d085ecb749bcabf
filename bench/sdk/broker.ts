import { letHeapGrow, startBroker } from '../../broker/index.js'
import { serveWorker, type WorkerTask } from '../lib/worker.js'

export interface SdkBrokerOptions {
  readonly folder: string
  /** 0 picks a free one. */
  readonly port: number
  /** Default: the broker's own. */
  readonly connectionsMax?: number
  /** Default: the broker's own. */
  readonly messageIdsMax?: number
}

/** Runs a broker with default settings, except for the given ones. */
async function start({ folder, ...settings }: SdkBrokerOptions): Promise<WorkerTask> {
  // As `millrace serve` does.
  letHeapGrow()
  const broker = await startBroker({ dir: folder, logLevel: 'warn', ...settings })
  return {
    ready: broker.address.port,
    count: () => ({ messages: 0, bytes: 0 }),
    stop: () => broker.close(),
  }
}

await serveWorker(start)
