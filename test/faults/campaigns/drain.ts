import { setTimeout as sleep } from 'node:timers/promises'
import type { Campaign } from '../campaign.js'
import { Trial } from '../trial/trial.js'

const drains = { full: 5, short: 1 }
const drainMsMax = 10_000

/** SIGTERM under load: what was asked is answered, nothing is lost, and the broker ends by itself in time. */
export const drain: Campaign = {
  name: 'drain',
  title: 'SIGTERM at random times under load',
  rounds: { full: 20, short: 1 },
  roundDeadlineMs: 180_000,
  unavailable: async () => undefined,
  async round(context) {
    const { rng } = context
    const trial = await Trial.start(context, { workload: rng.pick(['log', 'mix']), clients: 2 })
    const drainMs: number[] = []
    for (let count = context.short ? drains.short : drains.full; count > 0; count--) {
      await trial.progress(rng.int(1, 600))
      await sleep(rng.int(0, 20))
      trial.inject('SIGTERM')
      const { code, signal, ms } = await trial.broker.terminate()
      drainMs.push(ms)
      if (code !== 0) trial.find('drain-exit', `ended with ${signal ?? code} instead of 0`)
      if (ms > drainMsMax) trial.find('drain-late', `took ${Math.round(ms)} ms, allowed are ${drainMsMax}`)
      await trial.restart()
      trial.heal('SIGTERM')
    }
    await trial.progress(200)
    const result = await trial.conclude()
    return { ...result, samples: { ...result.samples, 'drain ms': drainMs } }
  },
}
