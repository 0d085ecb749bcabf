import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../../client/index.js'
import type { Random } from '../../helpers/random.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Campaign, RoundContext, RoundResult } from '../campaign.js'
import { indexHistory } from '../history/history_index.js'
import { FaultyProxy } from '../machine/faulty_proxy.js'
import { Trial } from '../trial/trial.js'
import { isRawPublisher } from '../workloads/publishers.js'

const disturbances = { full: 8, short: 3 }
const disturbedMs = { min: 50, max: 3_000 }
const briefMs = { min: 50, max: 1_000 }
/** Longer than clients wait for a reply, so that they give up the connection by themselves. */
const longMs = { min: 5_500, max: 7_000 }

/** A producer gives messages up during a fault, or retries them until the fault ends. */
const deliveryTimeoutsMs = [1_500, 30_000]
/** Few enough for a busy machine to read and check all of them in time. */
const shortPublisherRate = 100

/** Something that networks do, from now until the proxy is healed. */
interface Disturbance {
  readonly name: string
  readonly long?: true
  begin(proxy: FaultyProxy, rng: Random): void
}

const all: readonly Disturbance[] = [
  {
    name: 'delay',
    begin: (proxy, rng) => proxy.set({ delayMs: rng.int(5, 200), jitterMs: rng.int(0, 100) }),
  },
  { name: 'thin line', begin: (proxy, rng) => proxy.set({ bytesPerSecond: rng.int(5_000, 200_000) }) },
  { name: 'black hole', begin: (proxy) => proxy.set({ swallow: true }) },
  { name: 'lost requests', begin: (proxy) => proxy.set({ swallow: true }, 'requests') },
  { name: 'lost replies', begin: (proxy) => proxy.set({ swallow: true }, 'replies') },
  { name: 'freeze', begin: (proxy) => proxy.freeze() },
  {
    name: 'long thin line',
    long: true,
    begin: (proxy, rng) => proxy.set({ bytesPerSecond: rng.int(2_000, 20_000) }),
  },
  { name: 'long black hole', long: true, begin: (proxy) => proxy.set({ swallow: true }) },
  { name: 'long loss of replies', long: true, begin: (proxy) => proxy.set({ swallow: true }, 'replies') },
  { name: 'long freeze', long: true, begin: (proxy) => proxy.freeze() },
  { name: 'long freeze of replies', long: true, begin: (proxy) => proxy.set({ frozen: true }, 'replies') },
  { name: 'cut by FIN', begin: (proxy) => proxy.cut('fin') },
  { name: 'cut by RST', begin: (proxy) => proxy.cut('rst') },
  { name: 'cut in a request', begin: (proxy, rng) => proxy.cutAfter('requests', rng.int(1, 5_000)) },
  { name: 'cut in a reply', begin: (proxy, rng) => proxy.cutAfter('replies', rng.int(1, 2_000)) },
  { name: 'half-close of requests', begin: (proxy) => proxy.halfClose('requests') },
  { name: 'half-close of replies', begin: (proxy) => proxy.halfClose('replies') },
  { name: 'refused connections', begin: (proxy) => proxy.refuse() },
]

/** Clients behind a network that delays, cuts, and loses replies to what was done; now and then the broker is killed besides. */
export const network: Campaign = {
  name: 'network',
  title: 'connections that are delayed, throttled, cut, half-closed, swallowed and refused',
  rounds: { full: 40, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: async () => undefined,
  async round(context) {
    const { rng } = context
    let brokerPort = 0
    const proxy = await FaultyProxy.start(context, () => brokerPort, rng)
    const trial = await Trial.start(context, {
      workload: rng.pick(['log', 'stream-groups', 'mix']),
      clients: 2,
      client: {
        deliveryTimeoutMs: rng.pick(deliveryTimeoutsMs),
        ...(context.short ? { publisherRate: shortPublisherRate } : {}),
      },
      clientAddress: ({ port }) => {
        brokerPort = port
        return { host: '127.0.0.1', port: proxy.port }
      },
    })
    await disturb(context, trial, proxy)
    await trial.progress(200)
    await findBypass(trial, proxy)
    const result = await trial.conclude()
    return { ...result, samples: { ...result.samples, ...(await unacknowledged(trial)) } }
  },
}

/** One disturbance after the other, now and then two at once. */
async function disturb(context: RoundContext, trial: Trial, proxy: FaultyProxy): Promise<void> {
  const { rng, short } = context
  const candidates = rng.shuffle(short ? all.filter(({ long }) => long === undefined) : all)
  let left = short ? disturbances.short : disturbances.full
  while (left > 0) {
    const chosen = candidates.splice(0, Math.min(left, rng.chance(1 / 4) ? 2 : 1))
    left -= chosen.length
    await trial.progress(rng.int(1, 200))
    for (const { name, begin } of chosen) {
      trial.inject(name)
      begin(proxy, rng)
    }
    const { min, max } = chosen.some(({ long }) => long) ? longMs : short ? briefMs : disturbedMs
    await disturbed(context, trial, rng.int(min, max))
    proxy.heal()
    for (const { name } of chosen) trial.heal(name)
  }
}

async function disturbed({ rng }: RoundContext, trial: Trial, ms: number): Promise<void> {
  if (rng.chance(0.8)) return sleep(ms)
  await sleep(ms / 2)
  await trial.crash()
  await sleep(ms / 2)
}

/** Metadata names the broker's own address: a client that went there would pass by all faults. */
async function findBypass(trial: Trial, proxy: FaultyProxy): Promise<void> {
  const client = await connect(trial.broker.server)
  try {
    let counts = ''
    await waitFor('all connections to come through the proxy', async () => {
      const { connections } = await client.status()
      counts = `the broker has ${connections}, the harness 1 of them, the proxy ${proxy.connections}`
      return connections - 1 === proxy.connections
    }).catch(() => trial.find('no-proxy', `connections go past the proxy: ${counts}`))
  } finally {
    await client.close({ timeoutMs: 0 })
  }
}

/** How often what the faults are about came about: publishes that the broker carried out, and the client never knew. */
async function unacknowledged(trial: Trial): Promise<NonNullable<RoundResult['samples']>> {
  const { publishes } = indexHistory(await trial.events())
  const unknown = publishes.filter(({ outcome }) => outcome === 'info')
  const raw = unknown.filter(({ process }) => isRawPublisher(process))
  return {
    'unanswered once sent': [raw.length],
    'unanswered and there': [raw.filter(({ place }) => place !== undefined).length],
    'given up by the SDK': [unknown.length - raw.length],
    'given up and there': [
      unknown.filter(({ process, place }) => !isRawPublisher(process) && place !== undefined).length,
    ],
  }
}
