import { startBroker } from '../../broker/index.js'
import { serveWorker, type WorkerTask } from '../lib/worker.js'

export interface SdkBrokerOptions {
  readonly folder: string
  /** 0 picks a free one. */
  readonly port: number
}

/** Runs a broker with the settings that everyone gets. */
async function start({ folder, port }: SdkBrokerOptions): Promise<WorkerTask> {
  const broker = await startBroker({ dir: folder, port, logLevel: 'warn' })
  return {
    ready: broker.address.port,
    count: () => ({ messages: 0, bytes: 0 }),
    stop: () => broker.close(),
  }
}

await serveWorker(start)
