import type { Delayed, DelayFigures, DelayWork, Durability, WorkQueueWork } from '../../lib/contender.js'
import { waitForMessages } from '../../lib/worker.js'
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
}

/** Fills a queue with more messages than the time needs, and measures how fast one worker acknowledges them. */
export function workOnQueue(
  server: PeerServer,
  { publisher, worker, topicKind, messagesPerSMax }: PeerQueueClients,
  durability: Durability,
  work: WorkQueueWork,
): Promise<PeerThroughput> {
  const { messageBytes, concurrency, warmUpMs, measureMs } = work
  const messages = Math.ceil((messagesPerSMax * (warmUpMs + measureMs)) / 1000) + concurrency
  const common = { port: server.port, topic: 'work', topicKind, messageBytes, durability }
  return withWorkers(async ({ start, stop }) => {
    const filler = await start('publisher', publisher, { ...common, mode: 'bulk', removesTopic: false })
    await waitForMessages(filler, messages)
    await stop(filler)
    const working = await start('worker', worker, { ...common, concurrency, removesTopic: true })
    const throughput = await measurePeer(server, working, [], work)
    const { messages: done } = await working.sample()
    if (done >= messages)
      throw new Error(`the queue was empty before the end: all of ${messages} messages are acknowledged`)
    return throughput
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
