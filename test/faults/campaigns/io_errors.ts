import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Campaign, RoundContext } from '../campaign.js'
import { LoopVolume, loopVolumeUnavailable } from '../machine/loop_volume.js'
import { injectSyscallFault, syncCalls, syscallFaultsUnavailable } from '../machine/syscall_faults.js'
import { type DiskDuties, DiskJudge } from '../trial/disk_judge.js'
import { StoreProbe } from '../trial/store_probe.js'
import { Trial } from '../trial/trial.js'

const mib = 1024 * 1024
const errors = { full: 4, short: 1 }
const volumeBytes = 512 * mib
const client = { publisherRate: 50, valueBytesMax: 16_384 }
/** The oldest records then come from disk soon. */
const tailCacheBytes = mib
const valueBytes = [16, 1_000, 16_384]
const settings = { diskFreeBytesMin: '16MB', tailCacheBytes }
const duties: DiskDuties = { refusals: ['STORAGE_FAILED'], mayAccept: false, readsDisk: true }

/** How an error of the disk ends. */
type End = 'disk mended' | 'kill while syncs fail' | 'power cut after failed syncs'

/** Syncs fail for a while under load; then the disk is well again, or the broker killed, or the power cut. */
export const ioErrors: Campaign = {
  name: 'io-errors',
  title:
    'syncs that fail with EIO for 0.5 to 2 s under load, ended by themselves, by kill -9 or by a power cut',
  rounds: { full: 15, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: async () => (await loopVolumeUnavailable()) ?? (await syscallFaultsUnavailable()),
  async round(context) {
    const { rng } = context
    const volume = await LoopVolume.create(context, { sizeBytes: volumeBytes })
    const trial = await Trial.start(context, {
      workload: rng.pick(['log', 'mix']),
      clients: 2,
      client,
      dir: join(volume.dir, 'data'),
      broker: {
        settings,
        // All that waits for the disk then waits for each other.
        ...(rng.chance(1 / 2) ? { env: { UV_THREADPOOL_SIZE: '1' } } : {}),
      },
    })
    const probe = await StoreProbe.start(context, { address: () => trial.broker, valueBytes })
    const judge = new DiskJudge(probe, context)
    for (let count = context.short ? errors.short : errors.full; count > 0; count--) {
      await trial.progress(rng.int(50, 300))
      const end = rng.pick<End>(['disk mended', 'kill while syncs fail', 'power cut after failed syncs'])
      await failSyncs(context, { trial, probe, judge, volume, end })
    }
    await trial.progress(100)
    for (const evidence of await probe.conclude()) trial.find('lost-write', evidence)
    for (const { check, evidence } of judge.findings.list) trial.find(check, evidence)
    const result = await trial.conclude()
    return { ...result, samples: { ...result.samples, ...judge.samples } }
  },
}

interface Failing {
  readonly trial: Trial
  readonly probe: StoreProbe
  readonly judge: DiskJudge
  readonly volume: LoopVolume
  readonly end: End
}

async function failSyncs(context: RoundContext, failing: Failing): Promise<void> {
  const { trial, probe, judge, volume, end } = failing
  const name = 'EIO from syncs'
  trial.inject(name)
  const fault = await injectSyscallFault(context, trial.broker.pid, { calls: syncCalls, error: 'EIO' })
  const attachedMs = performance.now()
  await judge.red(name, attachedMs)
  const redMs = performance.now()
  await sleep(context.rng.int(500, 2_000))
  const heldMs = performance.now()
  const published = JSON.stringify(StoreProbe.tally(probe.since('publish', redMs)))
  judge.during(name, attachedMs, redMs, heldMs, duties)
  context.log(`${name}: ${await fault.count()} met, publishes ${published}, ${end}`)
  if (end === 'disk mended') {
    await fault.detach()
  } else {
    trial.inject(end)
    if (end === 'power cut after failed syncs') await volume.cutPower([trial.broker.pid])
    await trial.broker.kill()
    await fault.detach()
    if (end === 'power cut after failed syncs') {
      await volume.unmount()
      await volume.mount()
    }
  }
  const mendedMs = performance.now()
  if (end !== 'disk mended') await trial.restart()
  trial.heal(name)
  await judge.recovered(name, mendedMs)
}
