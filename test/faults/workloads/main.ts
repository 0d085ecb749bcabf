import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect } from '../../../client/index.js'
import { Random } from '../../helpers/random.js'
import { HistoryWriter } from '../history/history.js'
import { workloads } from './table.js'
import type { WorkloadContext } from './workload.js'

/** What a client process is told, as JSON in its first argument. */
export interface ClientPlan
  extends Pick<
    WorkloadContext,
    'prefix' | 'address' | 'publisherRate' | 'valueBytesMax' | 'deliveryTimeoutMs' | 'sessionTimeoutMs'
  > {
  readonly workload: string
  readonly seed: number
  readonly historyPath: string
}

const connectEveryMs = 20
const progressEveryMs = 25

/** Runs a workload until its standard input ends. Prints `progress PUBLISHED PROCESSED` while it runs. */
async function main(plan: ClientPlan): Promise<void> {
  const workload = workloads.get(plan.workload)
  if (workload === undefined) throw new Error(`there is no workload "${plan.workload}"`)
  const stop = new AbortController()
  process.stdin.resume().once('end', () => stop.abort())
  const history = new HistoryWriter(plan.historyPath)
  const clients: Client[] = []
  const done = { published: 0, processed: 0 }
  const timer = setInterval(() => {
    process.stdout.write(`progress ${done.published} ${done.processed}\n`)
  }, progressEveryMs)
  await workload.run({
    ...plan,
    history,
    random: new Random(plan.seed),
    stop: stop.signal,
    client: async (options) => {
      const client = await connectSomeTime(plan, stop.signal, options)
      clients.push(client)
      return client
    },
    progress: (published, processed) => {
      done.published += published
      done.processed += processed
    },
  })
  clearInterval(timer)
  await Promise.all(clients.map((client) => client.close({ timeoutMs: 0 })))
  history.close()
}

const lastTriesMax = 5

/** Connects, also when the broker is gone at the moment. */
async function connectSomeTime(
  { address: { host, port } }: ClientPlan,
  stop: AbortSignal,
  options: Parameters<WorkloadContext['client']>[0],
): Promise<Client> {
  for (let lastTries = lastTriesMax; ; ) {
    try {
      return await connect({
        servers: `${host}:${port}`,
        reconnect: { initialMs: 10, maxMs: 100 },
        connectTimeoutMs: 2_000,
        requestTimeoutMs: 5_000,
        ...options,
      })
    } catch (error) {
      // A fault may last a little longer than the work.
      if (stop.aborted && lastTries-- === 0) throw error
      await sleep(connectEveryMs)
    }
  }
}

await main(JSON.parse(process.argv[2] ?? '') as ClientPlan)
process.exit()
