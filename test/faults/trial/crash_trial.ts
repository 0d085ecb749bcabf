import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Finding, RoundContext, RoundResult } from '../campaign.js'
import { LoopVolume } from '../machine/loop_volume.js'
import { type BrokerPlan, BrokerProcess } from './broker_process.js'

/** What clients do in this process while the broker crashes again and again. */
export interface CrashWork {
  /** Waits until so many more operations have succeeded, so that the broker is known to work. */
  progress(count: number): Promise<void>
  /** The broker is about to crash, or ready again. */
  brokerIs?(state: 'down' | 'up'): void
  /** Ends the work after the last crash, waits for what is still to come, and judges what was seen. */
  conclude(): Promise<{ readonly operations: number; readonly findings: readonly Finding[] }>
}

export interface CrashPlan {
  /** @param server where the broker listens, now and after each restart */
  readonly start: (context: RoundContext, server: string) => Promise<CrashWork>
  readonly crashes: { readonly full: number; readonly short: number }
  /** Operations between two crashes, at most. */
  readonly operationsMax: number
  /** Time between two crashes in ms, besides that of the operations. Default at most 20. */
  readonly pauseMs?: (context: RoundContext) => number
}

const volumeBytes = 512 * 1024 * 1024

/** Kills the broker with SIGKILL again and again while clients work; it comes back on the same port. */
export async function runKillTrial(context: RoundContext, plan: CrashPlan): Promise<RoundResult> {
  const dir = await context.tempDir()
  return runCrashTrial(context, plan, { dir }, 'kill -9', (broker) => broker.kill())
}

/** Cuts the power of the broker's volume again and again: everything that was not synced is gone. */
export async function runPowerTrial(context: RoundContext, plan: CrashPlan): Promise<RoundResult> {
  const volume = await LoopVolume.create(context, { sizeBytes: volumeBytes })
  const broker = { dir: join(volume.dir, 'data'), settings: { diskFreeBytesMin: '16MB' } }
  return runCrashTrial(context, plan, broker, 'power cut', async (broker) => {
    await volume.cutPower([broker.pid])
    await broker.kill()
    await volume.unmount()
    await volume.mount()
  })
}

async function runCrashTrial(
  context: RoundContext,
  { start, crashes, operationsMax, pauseMs = ({ rng }) => rng.int(0, 20) }: CrashPlan,
  plan: BrokerPlan,
  fault: string,
  crash: (broker: BrokerProcess) => Promise<void>,
): Promise<RoundResult> {
  const { rng, short, planted, signal } = context
  let broker = await BrokerProcess.start(context, { ...plan, planted })
  const work = await start(context, broker.server)
  const reopenMs: number[] = []
  const count = short ? crashes.short : crashes.full
  for (let n = 0; n < count; n++) {
    await work.progress(rng.int(1, operationsMax))
    await sleep(pauseMs(context), undefined, { signal })
    work.brokerIs?.('down')
    await crash(broker)
    broker = await BrokerProcess.start(context, { ...plan, planted, port: broker.port })
    work.brokerIs?.('up')
    reopenMs.push(broker.readyMs)
  }
  await work.progress(Math.min(operationsMax, 200))
  const { operations, findings } = await work.conclude()
  return { operations, findings, faults: { [fault]: count }, samples: { 'reopen ms': reopenMs } }
}
