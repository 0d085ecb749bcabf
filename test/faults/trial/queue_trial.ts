import { setTimeout as sleep } from 'node:timers/promises'
import type { RoundContext, RoundResult } from '../campaign.js'
import { QueueWork } from '../workloads/queue_work.js'
import { type BrokerPlan, BrokerProcess } from './broker_process.js'

const crashes = { full: 20, short: 5 }
const settledMax = 400

/** Works with queue groups, and has the broker crash again and again; it comes back on the same port. */
export async function runQueueTrial(
  context: RoundContext,
  plan: BrokerPlan,
  fault: string,
  crash: (broker: BrokerProcess) => Promise<void>,
): Promise<RoundResult> {
  const { rng, short, planted } = context
  let broker = await BrokerProcess.start(context, { ...plan, planted })
  const work = await QueueWork.start(context, broker.server)
  const reopenMs: number[] = []
  const count = short ? crashes.short : crashes.full
  for (let n = 0; n < count; n++) {
    await work.progress(rng.int(1, settledMax))
    await sleep(rng.int(0, 20))
    await crash(broker)
    broker = await BrokerProcess.start(context, { ...plan, planted, port: broker.port })
    reopenMs.push(broker.readyMs)
  }
  await work.progress(200)
  const { operations, findings } = await work.conclude()
  return { operations, findings, faults: { [fault]: count }, samples: { 'reopen ms': reopenMs } }
}
