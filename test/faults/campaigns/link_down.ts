import { setTimeout as sleep } from 'node:timers/promises'
import type { Campaign } from '../campaign.js'
import { NetworkNamespace, networkNamespaceUnavailable } from '../machine/network_namespace.js'
import { Trial } from '../trial/trial.js'

const cuts = { full: 4, short: 1 }
const sessionTimeoutMs = 1_500

/** One of two machines with clients loses its link, for less and for more than a session lasts; nobody is told by a reset. */
export const linkDown: Campaign = {
  name: 'link-down',
  title: 'a machine with clients whose link goes down and comes up again',
  rounds: { full: 15, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: networkNamespaceUnavailable,
  async round(context) {
    const { rng } = context
    const away = await NetworkNamespace.create(context)
    const trial = await Trial.start(context, {
      workload: rng.pick(['stream-groups', 'mix']),
      clients: 2,
      client: { sessionTimeoutMs, publisherRate: 200 },
      broker: { host: away.hostAddress },
      clientUnder: (index) => (index === 1 ? away.command : []),
    })
    for (let count = context.short ? cuts.short : cuts.full; count > 0; count--) {
      await trial.progress(200)
      trial.inject('link down')
      await away.linkDown()
      await sleep(rng.int(200, context.short ? 3_000 : 8_000))
      await away.linkUp()
      trial.heal('link down')
    }
    await trial.progress(200)
    return trial.conclude()
  },
}
