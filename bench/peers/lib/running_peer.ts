import type { Durability, RunningContender } from '../../lib/contender.js'
import { PeerWorkers } from './peer_workers.js'
import type { ServerProcess } from './server_process.js'

export interface PeerClients {
  /** Script that calls `servePublisher`. */
  readonly publisher: URL
  /** Script that calls `serveConsumer`. */
  readonly consumer: URL
  readonly durability: Durability
}

/** A peer whose server runs, with its clients; what fails is told with the end of what the server printed. */
export function runningPeer(server: ServerProcess, clients: PeerClients): RunningContender {
  const workers = new PeerWorkers({ ...clients, server })
  const told = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      const state = server.end === undefined ? 'the server runs' : `the server: ${server.end}`
      throw new Error(`${error instanceof Error ? error.message : error}\n${state}\n${server.output}`)
    }
  }
  return {
    get pids() {
      return server.pids
    },
    publish: (work) => told(workers.publish(work)),
    endToEnd: (work) => told(workers.endToEnd(work)),
    latency: (work) => told(workers.latency(work)),
    stop: () => server.stop(),
  }
}
