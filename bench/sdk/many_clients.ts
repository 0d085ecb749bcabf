import type { LatencyFigures } from '../lib/latency.js'
import { type Interval, measureThroughput, type Throughput } from '../lib/throughput.js'
import { monotonicMs, type Worker } from '../lib/worker.js'
import { createTopic, type RunningBroker, repeated, topic, withBroker } from './sdk.js'

/** The figures of many concurrent clients. */
export interface ManyClients {
  /** Each of those that publish waits for the receipt of a message before it publishes the next one. */
  readonly throughput: Throughput
  /** From `publish` to its receipt, in the slower process. */
  readonly latency: LatencyFigures
  readonly connectMs: number
  /** Resident memory of the broker for each client, connected and idle. */
  readonly brokerBytesPerClient: number
}

export interface ManyClientsWork extends Interval {
  readonly clients: number
  /** Number of publishing clients: each has a second connection. */
  readonly publishers: number
  readonly messageBytes: number
  readonly dataRoot: string
}

/** Connects clients in two processes, and lets them publish one message at a time each. */
export function runManyClients(work: ManyClientsWork): Promise<ManyClients> {
  const { clients, publishers } = work
  const settings = { connectionsMax: clients + publishers + 100 }
  const use = async (running: RunningBroker): Promise<ManyClients> => {
    const { broker } = running
    await createTopic(running.port)
    const { rssBytes } = await broker.sample()
    const startedMs = monotonicMs()
    const workers = await connectAll(running, work)
    const connectMs = monotonicMs() - startedMs
    const connected = await broker.sample()
    await Promise.all(workers.map((worker) => worker.begin()))
    const throughput = await measureThroughput(workers, [broker], work)
    const latencies = (await Promise.all(workers.map((worker) => worker.stop()))) as LatencyFigures[]
    return {
      throughput,
      latency: latencies.reduce((slower, other) => (other.p99Ms > slower.p99Ms ? other : slower)),
      connectMs,
      brokerBytesPerClient: (connected.rssBytes - rssBytes) / clients,
    }
  }
  return withBroker(work.dataRoot, use, settings)
}

/** Both processes connect at the same time; a lone client has one process. */
function connectAll({ port, start }: RunningBroker, work: ManyClientsWork): Promise<Worker[]> {
  const data = repeated(work.messageBytes)
  const halves = [Math.ceil, Math.floor].map((round) => ({
    connections: round(work.clients / 2),
    publishers: round(work.publishers / 2),
  }))
  return Promise.all(
    halves
      .filter(({ connections }) => connections > 0)
      .map(({ connections, publishers }) =>
        start('connections', { port, connections, publish: { clients: publishers, topic, data } }),
      ),
  )
}
