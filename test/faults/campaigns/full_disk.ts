import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Campaign, RoundContext } from '../campaign.js'
import { type DiskFiller, diskFiller, diskFillerUnavailable } from '../machine/disk_filler.js'
import { LoopVolume, loopVolumeUnavailable } from '../machine/loop_volume.js'
import { type DiskDuties, DiskJudge } from '../trial/disk_judge.js'
import { StoreProbe } from '../trial/store_probe.js'
import { Trial } from '../trial/trial.js'

const mib = 1024 * 1024
const fills = { full: 4, short: 1 }
const volumeBytes = 512 * mib
const thresholdBytes = 16 * mib
const client = { publisherRate: 25, valueBytesMax: 65_536 }
/** The oldest records then come from disk soon. */
const tailCacheBytes = mib
const valueBytes = [16, 100, 1_000, 4_096, 65_536]

interface Fill {
  readonly name: string
  readonly freeBytes: number
  readonly duties: DiskDuties
}

/** Seen in advance: publishing stops before the disk is full. */
const below: Fill = {
  name: 'disk filled to below the threshold',
  freeBytes: thresholdBytes / 2,
  duties: { refusals: ['STORAGE_FULL', 'STORAGE_FAILED'], mayAccept: false, readsDisk: true },
}
/** Filled faster than it is looked at, or nothing is looked at: writes themselves fail. */
const toTheEnd: Fill = {
  name: 'disk filled up',
  freeBytes: 0,
  duties: { refusals: ['STORAGE_FULL', 'STORAGE_FAILED'], mayAccept: true, readsDisk: true },
}

/** Another process fills the disk under load, gives the room back, and the broker is killed. */
export const fullDisk: Campaign = {
  name: 'full-disk',
  title: 'the disk filled by another process under load and freed, with a kill -9 before or after recovery',
  rounds: { full: 15, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: async () => (await loopVolumeUnavailable()) ?? (await diskFillerUnavailable()),
  async round(context) {
    const { rng } = context
    const volume = await LoopVolume.create(context, { sizeBytes: volumeBytes })
    // In every other round nothing is refused in advance, so that writes meet the end of the disk.
    const isWatched = context.index % 2 === 0
    const trial = await Trial.start(context, {
      workload: rng.pick(['log', 'mix']),
      clients: 2,
      client,
      dir: join(volume.dir, 'data'),
      broker: { settings: { diskFreeBytesMin: isWatched ? thresholdBytes : 0, tailCacheBytes } },
    })
    const probe = await StoreProbe.start(context, { address: () => trial.broker, valueBytes })
    const judge = new DiskJudge(probe, context)
    const filler = diskFiller(context, volume.dir)
    for (let index = 0; index < (context.short ? fills.short : fills.full); index++) {
      await trial.progress(rng.int(50, 300))
      const fill = isWatched && index % 2 === 0 ? below : toTheEnd
      await fillAndFree(context, { trial, probe, judge, filler, fill })
    }
    await trial.progress(100)
    for (const evidence of await probe.conclude()) trial.find('lost-write', evidence)
    for (const { check, evidence } of judge.findings.list) trial.find(check, evidence)
    const result = await trial.conclude()
    return { ...result, samples: { ...result.samples, ...judge.samples } }
  },
}

interface Filling {
  readonly trial: Trial
  readonly probe: StoreProbe
  readonly judge: DiskJudge
  readonly filler: DiskFiller
  readonly fill: Fill
}

async function fillAndFree(context: RoundContext, filling: Filling): Promise<void> {
  const { trial, probe, judge, filler, fill } = filling
  const { rng } = context
  trial.inject(fill.name)
  await filler.fill(fill.freeBytes)
  const fullMs = performance.now()
  await judge.red(fill.name, fullMs)
  const redMs = performance.now()
  await sleep(rng.int(300, 1_500))
  const heldMs = performance.now()
  const published = JSON.stringify(StoreProbe.tally(probe.since('publish', redMs)))
  judge.during(fill.name, fullMs, redMs, heldMs, fill.duties)
  const killsFirst = rng.chance(1 / 3)
  if (killsFirst) {
    trial.inject('kill while the disk is full')
    await trial.broker.kill()
  }
  await filler.free()
  const freedMs = performance.now()
  if (killsFirst) await trial.restart()
  trial.heal(fill.name)
  await judge.recovered(fill.name, freedMs)
  context.log(`${fill.name}: publishes ${published}${killsFirst ? ', killed while full' : ''}`)
  if (!killsFirst) await trial.crash()
}
