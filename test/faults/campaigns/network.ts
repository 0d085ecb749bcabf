import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../../helpers/random.js'
import type { Campaign, RoundContext } from '../campaign.js'
import { FaultyProxy } from '../machine/faulty_proxy.js'
import { Trial } from '../trial/trial.js'

const disturbances = { full: 8, short: 3 }
const disturbedMs = { min: 50, max: 3_000 }

/** Something that networks do, from now until the proxy is healed. */
interface Disturbance {
  readonly name: string
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
      clientAddress: ({ port }) => {
        brokerPort = port
        return { host: '127.0.0.1', port: proxy.port }
      },
    })
    const count = context.short ? disturbances.short : disturbances.full
    for (const { name, begin } of rng.shuffle(all).slice(0, count)) {
      await trial.progress(rng.int(1, 200))
      trial.inject(name)
      begin(proxy, rng)
      await disturbed(context, trial)
      proxy.heal()
      proxy.accept()
      trial.heal(name)
    }
    await trial.progress(200)
    if (proxy.connections === 0) trial.find('no-proxy', 'no connection of the clients went through the proxy')
    return trial.conclude()
  },
}

async function disturbed({ rng, short }: RoundContext, trial: Trial): Promise<void> {
  const ms = rng.int(disturbedMs.min, short ? disturbedMs.max / 3 : disturbedMs.max)
  if (rng.chance(0.8)) return sleep(ms)
  await sleep(ms / 2)
  await trial.crash()
  await sleep(ms / 2)
}
