import { type Client, connect } from '../../client/index.js'
import { serveWorker, type WorkerTask } from '../lib/worker.js'

export interface SdkConnectionsOptions {
  readonly port: number
  readonly connections: number
}

const connectingMax = 50

/** Holds clients that are connected and do nothing. */
async function start({ port, connections }: SdkConnectionsOptions): Promise<WorkerTask> {
  const clients: Client[] = []
  while (clients.length < connections) {
    const count = Math.min(connectingMax, connections - clients.length)
    clients.push(...(await Promise.all(Array.from({ length: count }, () => connect(`127.0.0.1:${port}`)))))
  }
  return {
    count: () => ({ messages: 0, bytes: 0 }),
    stop: async () => {
      await Promise.all(clients.map((client) => client.close()))
    },
  }
}

await serveWorker(start)
