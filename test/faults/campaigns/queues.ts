import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Campaign, RoundContext, RoundResult } from '../campaign.js'
import { LoopVolume, loopVolumeUnavailable } from '../machine/loop_volume.js'
import { BrokerProcess } from '../trial/broker_process.js'
import { QueueWork } from '../workloads/queue_work.js'

const crashes = { full: 20, short: 5 }
const settledMax = 400
const volumeBytes = 512 * 1024 * 1024

/** Kill -9 under queue groups: leases, retries, dead letters, delayed messages and transactions. */
export const queues: Campaign = {
  name: 'queues',
  title: 'kill -9 of the broker under workers, dead letters, delayed messages and transactions',
  rounds: { full: 15, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: async () => undefined,
  async round(context) {
    const { planted } = context
    const dir = await context.tempDir()
    return disturbed(context, { dir, planted }, 'kill -9', (broker) => broker.kill())
  },
}

/** The same under cuts of the power: everything that was not synced is gone. */
export const queuesPower: Campaign = {
  name: 'queues-power',
  title: 'loss of power under workers, dead letters, delayed messages and transactions',
  rounds: { full: 5, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: loopVolumeUnavailable,
  async round(context) {
    const { planted } = context
    const volume = await LoopVolume.create(context, { sizeBytes: volumeBytes })
    const plan = { dir: join(volume.dir, 'data'), planted, settings: { diskFreeBytesMin: '16MB' } }
    return disturbed(context, plan, 'power cut', async (broker) => {
      await volume.cutPower([broker.pid])
      await broker.kill()
      await volume.unmount()
      await volume.mount()
    })
  },
}

/** Works, and has the broker crash again and again; it comes back on the same port. */
async function disturbed(
  context: RoundContext,
  plan: Parameters<typeof BrokerProcess.start>[1],
  fault: string,
  crash: (broker: BrokerProcess) => Promise<void>,
): Promise<RoundResult> {
  const { rng, short } = context
  let broker = await BrokerProcess.start(context, plan)
  const work = await QueueWork.start(context, broker.server)
  const reopenMs: number[] = []
  const count = short ? crashes.short : crashes.full
  for (let n = 0; n < count; n++) {
    await work.progress(rng.int(1, settledMax))
    await sleep(rng.int(0, 20))
    await crash(broker)
    broker = await BrokerProcess.start(context, { ...plan, port: broker.port })
    reopenMs.push(broker.readyMs)
  }
  await work.progress(200)
  const { operations, findings } = await work.conclude()
  return { operations, findings, faults: { [fault]: count }, samples: { 'reopen ms': reopenMs } }
}
