import { readFileSync } from 'node:fs'
import { type BenchContext, latencyDetails, type Scenario, throughputDetails } from '../lib/scenario.js'
import { type ManyClients, runManyClients } from '../sdk/many_clients.js'

const messageBytes = 100
const sizes = [1, 10, 100, 1_000, 10_000]
/** The broker reserves about 300 for its databases, and the process needs some. */
const descriptorsReserved = 400
/** A limit that every system allows. */
const descriptorsAssumed = 4_000

/**
 * Clients that are connected at the same time, in two processes, each publishing one message at a time and waiting for
 * its
 * receipt. Measures their total rate, the latency of a receipt, the broker's memory for each connected client, and
 * the time to connect them all. A client that publishes has two sockets: if the limit of open files is too low
 * for all, fewer publish, and the details give the number. The connection limit of the broker is set to fit.
 */
export const connectionsScenario: Scenario = {
  name: 'connections',
  summary: '1 to 10,000 connected clients, each publishing one message at a time',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const descriptors = descriptorsMax() - descriptorsReserved
    for (const clients of context.quick ? [1, 100] : sizes) {
      const publishers = Math.min(clients, descriptors - clients)
      if (publishers < 1)
        context.progress(
          `${clients} clients skipped: only ${descriptors} files may be open besides the log's`,
        )
      else await measureClients(context, clients, publishers)
    }
  },
}

async function measureClients(context: BenchContext, clients: number, publishers: number): Promise<void> {
  const { dataRoot, shortInterval } = context
  const name = `connections, ${clients.toLocaleString('en')} ${clients === 1 ? 'client' : 'clients'}`
  const runs: ManyClients[] = []
  for (let i = 1; i <= context.runs; i++) {
    context.progress(`${name}: run ${i} of ${context.runs}`)
    runs.push(await runManyClients({ clients, publishers, messageBytes, dataRoot, ...shortInterval }))
  }
  const add = (what: string, unit: string, value: (run: ManyClients) => number): void =>
    context.addMeasured(
      { name: `${name}, ${what}`, unit, better: 'lower' },
      runs.map((run) => ({ value: value(run) })),
    )
  context.addMeasured(
    { name: `${name}, publishing one by one`, unit: 'messages/s', better: 'higher' },
    runs.map(({ throughput }) => ({
      value: throughput.messagesPerS,
      details: { 'clients that publish': publishers, ...throughputDetails(throughput) },
      series: throughput.series ?? [],
    })),
  )
  context.addMeasured(
    { name: `${name}, p99 of a receipt`, unit: 'ms', better: 'lower' },
    runs.map(({ latency }) => ({ value: latency.p99Ms, details: latencyDetails(latency), latency })),
  )
  add('connecting all', 's', ({ connectMs }) => connectMs / 1000)
  // With few clients it would be noise.
  if (clients >= 100) add('memory of the broker for each', 'KB', (run) => run.brokerBytesPerClient / 1000)
}

/** Node.js raises the soft limit to the hard limit at its start: the broker has the same limit. */
function descriptorsMax(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1')
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? descriptorsAssumed)
  } catch {
    return descriptorsAssumed
  }
}
