import { join } from 'node:path'
import type { Campaign } from '../campaign.js'
import { LoopVolume, loopVolumeUnavailable } from '../machine/loop_volume.js'
import { runQueueTrial } from '../trial/queue_trial.js'

const volumeBytes = 512 * 1024 * 1024

/** Power cuts under queue groups: everything that was not synced is gone. */
export const queuesPower: Campaign = {
  name: 'queues-power',
  title: 'loss of power under workers, dead letters, delayed messages and transactions',
  rounds: { full: 5, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: loopVolumeUnavailable,
  async round(context) {
    const volume = await LoopVolume.create(context, { sizeBytes: volumeBytes })
    const plan = { dir: join(volume.dir, 'data'), settings: { diskFreeBytesMin: '16MB' } }
    return runQueueTrial(context, plan, 'power cut', async (broker) => {
      await volume.cutPower([broker.pid])
      await broker.kill()
      await volume.unmount()
      await volume.mount()
    })
  },
}
