import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { connect } from '../../client/index.js'
import { type Sample, Worker } from '../lib/worker.js'
import type { SdkIdleOptions } from './idle_clients.js'

export interface IdleWork {
  readonly dataRoot: string
  readonly kind: SdkIdleOptions['kind']
  readonly topics: number
  readonly partitions: number
  /** Client processes; each has a member of the group of each of the first `membersPerClient` topics. */
  readonly clients: number
  readonly membersPerClient: number
  /** Time after the start until the measurement: waits of idle consumers grow to their longest. */
  readonly settleMs: number
  readonly measureMs: number
  /** Folder of the build whose broker and SDK are measured; default: this build. */
  readonly build?: string
}

/** What an idle system costs. */
export interface Idle {
  /** Percent of a core. */
  readonly brokerCpuPercent: number
  /** Percent of a core: the mean of the client processes. */
  readonly clientCpuPercent: number
  readonly brokerRssBytes: number
  /** The largest of the client processes. */
  readonly clientRssBytes: number
}

/** Starts a broker and clients for which nothing comes, and measures their CPU and memory. */
export async function runIdle(work: IdleWork): Promise<Idle> {
  const { dataRoot, build, kind, clients, membersPerClient } = work
  const folder = join(dataRoot, `idle-${process.pid}`)
  const workers: Worker[] = []
  const start = async (name: string, script: URL, options: object): Promise<Worker> => {
    const worker = await Worker.start(name, script, options)
    workers.unshift(worker)
    return worker
  }
  try {
    const broker = await start('broker', brokerScript(build), { folder, port: 0 })
    const port = broker.ready as number
    await createTopics(port, work)
    const script = new URL('./idle_clients.js', import.meta.url)
    const topics = Array.from({ length: membersPerClient }, (_, n) => idleTopic(n))
    const options: SdkIdleOptions = { port, kind, topics, ...(build === undefined ? {} : { build }) }
    const started = Array.from({ length: clients }, (_, n) => start(`client ${n}`, script, options))
    const measured = [broker, ...(await Promise.all(started))]
    await sleep(work.settleMs)
    const before = await samples(measured)
    await sleep(work.measureMs)
    const after = await samples(measured)
    const [brokerCpu = 0, ...clientCpu] = after.map((sample, n) => cpuPercent(before[n] as Sample, sample))
    const [brokerRssBytes = 0, ...clientRss] = after.map(({ rssBytes }) => rssBytes)
    return {
      brokerCpuPercent: brokerCpu,
      clientCpuPercent: clientCpu.reduce((sum, cpu) => sum + cpu, 0) / clients,
      brokerRssBytes,
      clientRssBytes: Math.max(...clientRss),
    }
  } finally {
    for (const worker of workers) await worker.stop().catch(() => worker.kill())
    await rm(folder, { recursive: true, force: true })
  }
}

function brokerScript(build: string | undefined): URL {
  if (build === undefined) return new URL('./broker.js', import.meta.url)
  return pathToFileURL(join(build, 'dist/bench/sdk/broker.js'))
}

async function createTopics(port: number, { topics, partitions }: IdleWork): Promise<void> {
  await using client = await connect({ servers: `127.0.0.1:${port}`, requestTimeoutMs: 120_000 })
  for (let n = 0; n < topics; n++) await client.topics.create(idleTopic(n), { partitions })
}

function idleTopic(n: number): string {
  return `idle-${n}`
}

function samples(workers: readonly Worker[]): Promise<Sample[]> {
  return Promise.all(workers.map((worker) => worker.sample()))
}

function cpuPercent(before: Sample, after: Sample): number {
  return (100 * (after.cpuMs - before.cpuMs)) / (after.timeMs - before.timeMs)
}
