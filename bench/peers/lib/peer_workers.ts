import { setTimeout as sleep } from 'node:timers/promises'
import type { Durability, LatencyWork, ThroughputWork } from '../../lib/contender.js'
import type { LatencyFigures } from '../../lib/latency.js'
import type { Series } from '../../lib/scenario.js'
import { type Interval, measureThroughput, type Throughput } from '../../lib/throughput.js'
import { monotonicMs, type Worker } from '../../lib/worker.js'
import type { PeerConsumerOptions, PeerPublisherOptions } from './options.js'
import { usageOf } from './processes.js'
import { withWorkers } from './worker_group.js'

/** A throughput, and what the server used meanwhile. `cpu` and `rssBytes` hold it as "server". */
export interface PeerThroughput extends Throughput {
  /** Resident memory of the server, from the beginning of the warm-up to the end of the measuring. */
  readonly series: readonly Series[]
  /** What the server gave to the disk in the interval that was measured. */
  readonly writtenBytesPerS: number
}

/** The running server as the workers see it. */
export interface PeerServer {
  readonly port: number
  readonly pids: readonly number[]
}

export interface PeerWorkersOptions {
  /** Calls `servePublisher`. */
  readonly publisher: URL
  /** Calls `serveConsumer`. */
  readonly consumer: URL
  readonly server: PeerServer
  readonly durability: Durability
  /** Given to the workers: which of a peer's kinds of topics, where it has several. */
  readonly topicKind?: string
}

const sampleEveryMs = 100

/** Runs a publisher and a consumer of a peer in processes of their own, and measures them. */
export class PeerWorkers {
  readonly #options: PeerWorkersOptions
  #topics = 0

  constructor(options: PeerWorkersOptions) {
    this.#options = options
  }

  /** One publisher at full speed; counts what is acknowledged. */
  publish(work: ThroughputWork): Promise<PeerThroughput> {
    return this.#withWorkers(work, async (start) => {
      const publisher = await start.publisher({ mode: 'bulk', removesTopic: true })
      return measurePeer(this.#options.server, publisher, [], work)
    })
  }

  /** One publisher at full speed and one consumer; counts what is received. */
  endToEnd(work: ThroughputWork): Promise<PeerThroughput> {
    return this.#withWorkers(work, async (start) => {
      const consumer = await start.consumer({ latency: false, warmUpMs: work.warmUpMs })
      const publisher = await start.publisher({ mode: 'bulk', removesTopic: false })
      return measurePeer(this.#options.server, consumer, [publisher], work)
    })
  }

  /** One publisher at a fixed rate and one consumer, from the intended time of publishing to receipt. */
  latency(work: LatencyWork): Promise<LatencyFigures> {
    const { messagesPerS, warmUpMs, measureMs } = work
    return this.#withWorkers(work, async (start, stop) => {
      const consumer = await start.consumer({ latency: true, warmUpMs })
      await start.publisher({ mode: 'rate', messagesPerS, removesTopic: false })
      await sleep(warmUpMs + measureMs)
      return (await stop(consumer)) as LatencyFigures
    })
  }

  #withWorkers<T>(
    { messageBytes }: { readonly messageBytes: number },
    use: (start: StartWorker, stop: (worker: Worker) => Promise<unknown>) => Promise<T>,
  ): Promise<T> {
    const { server, durability, topicKind, publisher, consumer } = this.#options
    const topic = `bench-${++this.#topics}`
    const common = { port: server.port, topic, topicKind, messageBytes, durability }
    return withWorkers(({ start, stop }) =>
      use(
        {
          publisher: (options) => start('publisher', publisher, { ...common, ...options }),
          consumer: (options) => start('consumer', consumer, { ...common, removesTopic: true, ...options }),
        },
        stop,
      ),
    )
  }
}

interface StartWorker {
  publisher(options: Pick<PeerPublisherOptions, 'mode' | 'messagesPerS' | 'removesTopic'>): Promise<Worker>
  consumer(options: Pick<PeerConsumerOptions, 'latency' | 'warmUpMs'>): Promise<Worker>
}

/** Measures the throughput of the workers, and what the server used meanwhile. */
export async function measurePeer(
  server: PeerServer,
  counting: Worker,
  others: readonly Worker[],
  interval: Interval,
): Promise<PeerThroughput> {
  const [throughput, used] = await Promise.all([
    measureThroughput(counting, others, interval),
    measureServer(server, interval),
  ])
  return {
    ...throughput,
    cpu: { ...throughput.cpu, server: used.cpu },
    rssBytes: { ...throughput.rssBytes, server: used.rssBytes },
    series: [used.memory],
    writtenBytesPerS: used.writtenBytesPerS,
  }
}

interface ServerFigures {
  /** Share of one processor. */
  readonly cpu: number
  readonly rssBytes: number
  readonly writtenBytesPerS: number
  readonly memory: Series
}

/** Watches the server's processes during the warm-up and the interval behind it. */
export async function measureServer(
  server: Pick<PeerServer, 'pids'>,
  { warmUpMs, measureMs }: Interval,
): Promise<ServerFigures> {
  const beginMs = monotonicMs()
  const points: (readonly [number, number])[] = []
  const sampleUntil = async (untilMs: number): Promise<void> => {
    while (monotonicMs() < untilMs) {
      points.push([(monotonicMs() - beginMs) / 1000, usageOf(server.pids).rssBytes / 1e6])
      await sleep(Math.min(sampleEveryMs, Math.max(untilMs - monotonicMs(), 0)))
    }
  }
  await sampleUntil(beginMs + warmUpMs)
  const [before, fromMs] = [usageOf(server.pids), monotonicMs()]
  await sampleUntil(fromMs + measureMs)
  const [after, toMs] = [usageOf(server.pids), monotonicMs()]
  return {
    cpu: (after.cpuMs - before.cpuMs) / (toMs - fromMs),
    rssBytes: after.rssBytes,
    writtenBytesPerS: ((after.writtenBytes - before.writtenBytes) / (toMs - fromMs)) * 1000,
    memory: { name: 'resident memory of the server', unit: 'MB', points },
  }
}
