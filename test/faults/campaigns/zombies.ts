import { setTimeout as sleep } from 'node:timers/promises'
import type { Campaign, RoundContext } from '../campaign.js'
import { suspend, suspendUnavailable } from '../machine/suspend.js'
import { Trial } from '../trial/trial.js'

const sessionTimeoutMs = 1_500
const stops = { full: 4, short: 1 }

/**
 * Members that are suspended for longer than their session timeout and resume, and brokers that are suspended and resume. Beside
 * them the workload has members of its own that stop responding and then commit (workloads/zombie.ts).
 */
export const zombies: Campaign = {
  name: 'zombies',
  title: 'members and brokers that are suspended for longer than the session timeout',
  rounds: { full: 20, short: 1 },
  roundDeadlineMs: 180_000,
  unavailable: suspendUnavailable,
  async round(context) {
    const { rng } = context
    const trial = await Trial.start(context, {
      workload: 'stream-groups',
      clients: 2,
      client: { sessionTimeoutMs, publisherRate: 200, valueBytesMax: 256 },
    })
    for (let count = context.short ? stops.short : stops.full; count > 0; count--) {
      await trial.progress(100)
      if (!context.short && rng.chance(1 / 4)) await stop(context, trial, 'broker stopped', trial.broker.pid)
      else await stop(context, trial, 'members stopped', rng.pick(trial.clients).pid)
    }
    await trial.progress(100)
    return trial.conclude()
  },
}

async function stop(context: RoundContext, trial: Trial, name: string, pid: number): Promise<void> {
  trial.inject(name)
  const resume = await suspend(context, pid)
  await sleep(sessionTimeoutMs + context.rng.int(500, 1_500))
  await resume()
  trial.heal(name)
}
