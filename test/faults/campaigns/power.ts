import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Campaign, RoundContext } from '../campaign.js'
import { LoopVolume, loopVolumeUnavailable } from '../machine/loop_volume.js'
import { watchJournal } from '../machine/wal_watch.js'
import { Trial } from '../trial/trial.js'

const cuts = { full: 5, short: 1 }
const rotationMs = 3
const volumeBytes = 512 * 1024 * 1024
/** Large enough for LevelDB's write-ahead file, of 1.5 MiB, to change every second or so. */
const client = { publisherRate: 400, valueBytesMax: 16_384 }

/** Power cuts under load: everything that was not synced is gone. */
export const power: Campaign = {
  name: 'power',
  title:
    'loss of power under load, a third of the cuts when LevelDB changes its write-ahead file or the journal its database',
  rounds: { full: 60, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: loopVolumeUnavailable,
  async round(context) {
    const { rng } = context
    const volume = await LoopVolume.create(context, { sizeBytes: volumeBytes })
    const workload = rng.pick(['log', 'stream-groups', 'mix'])
    const trial = await Trial.start(context, {
      workload,
      clients: 2,
      client,
      dir: join(volume.dir, 'data'),
      broker: { settings: { diskFreeBytesMin: '16MB', journalSegmentBytes: '4MiB' } },
    })
    for (let count = context.short ? cuts.short : cuts.full; count > 0; count--) {
      await trial.progress(rng.int(1, 600))
      await cut(context, trial, volume)
    }
    await trial.progress(200)
    return trial.conclude()
  },
}

async function cut(context: RoundContext, trial: Trial, volume: LoopVolume): Promise<void> {
  const atRotation = context.rng.chance(1 / 3)
  const name = atRotation ? 'power cut at a change of the write-ahead file' : 'power cut'
  if (!atRotation) await sleep(context.rng.int(0, 50))
  const cutting = atRotation ? cutAtRotation(context, trial, volume) : volume.cutPower([trial.broker.pid])
  trial.inject(name)
  await cutting
  await trial.broker.kill()
  await volume.unmount()
  await volume.mount()
  await trial.restart()
  trial.heal(name)
}

/** The cut comes while the old file is being made a table of, or the database is being made, which takes some milliseconds. */
async function cutAtRotation(context: RoundContext, trial: Trial, volume: LoopVolume): Promise<void> {
  const shard = join(trial.dir, 'shard-0')
  let end = (): void => {}
  await new Promise<void>((resolve, reject) => {
    context.signal.addEventListener('abort', () => reject(context.signal.reason), { once: true })
    end = watchJournal(context, shard, () => {
      end()
      setTimeout(
        () => volume.cutPower([trial.broker.pid]).then(resolve, reject),
        context.rng.int(0, rotationMs),
      )
    })
  }).finally(() => end())
}
