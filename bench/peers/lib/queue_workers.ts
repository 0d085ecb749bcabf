import type { Delayed, DelayFigures, DelayWork, Durability, WorkQueueWork } from '../../lib/contender.js'
import { waitForMessages } from '../../lib/worker.js'
import type { PeerWorkerOptions } from './options.js'
import { measurePeer, type PeerServer, type PeerThroughput } from './peer_workers.js'
import { usageOf } from './processes.js'
import { withWorkers } from './worker_group.js'

/** The clients of a work queue. */
export interface PeerQueueClients {
  /** Calls `servePublisher`: fills the queue. */
  readonly publisher: URL
  /** Calls `serveQueueWorker`. */
  readonly worker: URL
  /** Given to both: which of a peer's kinds of topics, where it has several. */
  readonly topicKind?: string
  /** More than a worker can do here: so many messages wait for each second of the work. */
  readonly messagesPerSMax: number
  /** False: acknowledgements are sent without asking for the confirmation that the protocol has. Default: true. */
  readonly isConfirmed?: boolean
}

/** From when a worker has begun until it is measured, beyond the warm-up. */
const startMsMax = 500
/** Some get up to their concurrency one message at a time: the warm-up begins when so many times that are acknowledged. */
const startFactor = 2
const attemptsMax = 3

/**
 * Fills a queue with more messages than the time needs, and measures how fast one worker acknowledges them. When the queue is
 * empty before the end, all of it is done again with twice as many.
 */
export async function workOnQueue(
  server: PeerServer,
  clients: PeerQueueClients,
  durability: Durability,
  work: WorkQueueWork,
): Promise<PeerThroughput> {
  const { messageBytes, concurrency, warmUpMs, measureMs } = work
  const seconds = (startMsMax + warmUpMs + measureMs) / 1000
  let messages = startFactor * concurrency + Math.ceil(clients.messagesPerSMax * seconds)
  for (let attempt = 1; attempt <= attemptsMax; attempt++, messages *= 2) {
    const common = {
      port: server.port,
      topic: `work-${attempt}`,
      messageBytes,
      durability,
      ...(clients.topicKind === undefined ? {} : { topicKind: clients.topicKind }),
    }
    const throughput = await workOnce(server, clients, common, work, messages)
    if (throughput !== undefined) return throughput
  }
  throw new Error(`a queue of ${messages / 2} messages was empty before the end`)
}

/** @returns undefined when there were too few messages */
function workOnce(
  server: PeerServer,
  { publisher, worker, isConfirmed = true }: PeerQueueClients,
  common: Omit<PeerWorkerOptions, 'removesTopic'>,
  work: WorkQueueWork,
  messages: number,
): Promise<PeerThroughput | undefined> {
  const { concurrency } = work
  return withWorkers(async ({ start, stop }) => {
    const filler = await start('publisher', publisher, { ...common, mode: 'bulk', removesTopic: false })
    await waitForMessages(filler, messages)
    await stop(filler)
    const options = { ...common, concurrency, isConfirmed, removesTopic: true }
    const working = await start('worker', worker, options)
    await waitForMessages(working, startFactor * concurrency)
    const throughput = await measurePeer(server, working, [], work)
    const { messages: done } = await working.sample()
    return done < messages ? throughput : undefined
  })
}

/** The client that arms messages, and receives those that are due. */
export interface PeerDelayerClient {
  /** Calls `serveDelayer`. */
  readonly script: URL
  /** Messages that it arms for tomorrow at most, where more would take minutes. */
  readonly armedMax?: number
}

/** Has one client arm messages and receive those that are due. */
export function delayMessages(
  server: PeerServer,
  { script, armedMax = Number.POSITIVE_INFINITY }: PeerDelayerClient,
  durability: Durability,
  work: DelayWork,
): Promise<Delayed> {
  const common = { port: server.port, topic: 'delayed', durability, removesTopic: true }
  return withWorkers(async ({ start }) => {
    const armed = Math.min(work.armed, armedMax)
    const worker = await start('delayer', script, { ...common, ...work, armed })
    const figures = (await worker.begin()) as DelayFigures
    return { ...figures, serverRssBytes: usageOf(server.pids).rssBytes }
  })
}
