import type { Durability, RunningContender } from '../../lib/contender.js'
import { PeerWorkers } from './peer_workers.js'
import { delayMessages, type PeerDelayerClient, type PeerQueueClients, workOnQueue } from './queue_workers.js'
import type { ServerProcess } from './server_process.js'

/** The clients of a peer: the kinds of work that it has none for are left out. */
export interface PeerClients {
  readonly durability: Durability
  /** For publish, end to end and latency. */
  readonly stream?: {
    /** Script that calls `servePublisher`. */
    readonly publisher: URL
    /** Script that calls `serveConsumer`. */
    readonly consumer: URL
    /** Given to both: which of a peer's kinds of topics, where it has several. */
    readonly topicKind?: string
  }
  readonly queue?: PeerQueueClients
  readonly delayer?: PeerDelayerClient
}

/** A peer whose server runs, with its clients; what fails is told with the end of what the server printed. */
export function runningPeer(server: ServerProcess, clients: PeerClients): RunningContender {
  const { durability, stream, queue, delayer } = clients
  const told = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      const state = server.end === undefined ? 'the server runs' : `the server: ${server.end}`
      throw new Error(`${error instanceof Error ? error.message : error}\n${state}\n${server.output}`)
    }
  }
  const workers = stream === undefined ? undefined : new PeerWorkers({ ...stream, server, durability })
  return {
    get pids() {
      return server.pids
    },
    ...(workers !== undefined && {
      publish: (work) => told(workers.publish(work)),
      endToEnd: (work) => told(workers.endToEnd(work)),
      latency: (work) => told(workers.latency(work)),
    }),
    ...(queue !== undefined && { work: (work) => told(workOnQueue(server, queue, durability, work)) }),
    ...(delayer !== undefined && {
      delayed: (work) => told(delayMessages(server, delayer, durability, work)),
    }),
    stop: () => server.stop(),
  }
}
