import type { BenchContext, Scenario } from '../lib/scenario.js'
import type { Worker } from '../lib/worker.js'
import { type Restart, restartAfterKill, restartCleanly } from '../sdk/restart.js'
import { createTopic, fill, type RunningBroker, randomValues, withBroker } from '../sdk/sdk.js'

const messageBytes = 1024
/** In 10^9 bytes; `size` covers the larger ones. */
const logSizesGb = [0, 0.1, 1]
/** Duration of the writes at full speed before the kill: long enough for a real recovery. */
const loadMs = 1_000

/**
 * Time from the start of the process to its first answer, by the size of its log: after a clean stop, and
 * after kill -9 under a publisher at full speed, which adds a second of its writes each time.
 */
export const startUpScenario: Scenario = {
  name: 'start-up',
  summary: 'until a broker answers, by size of the log, after a stop and after kill -9',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    for (const gigabytes of context.quick ? [0.05] : logSizesGb) {
      const use = (running: RunningBroker) => measureStarts(context, running, gigabytes)
      await withBroker(context.dataRoot, use)
    }
  },
}

async function measureStarts(
  context: BenchContext,
  running: RunningBroker,
  gigabytes: number,
): Promise<void> {
  const name = `start-up, log of ${gigabytes} GB`
  context.progress(`${name}: filling`)
  await createTopic(running.port)
  if (gigabytes > 0) await fill(running, { data: randomValues(messageBytes), logBytes: gigabytes * 1e9 })
  let broker = running.broker
  const measure = async (how: string, restart: (broker: Worker) => ReturnType<typeof restartCleanly>) => {
    await context.measure({ name: `${name}, ${how}`, unit: 's', better: 'lower' }, async () => {
      const restarted = await restart(broker)
      broker = restarted.broker
      return { value: restarted.restart.answersMs / 1000, details: restartDetails(restarted.restart) }
    })
  }
  await measure('after a clean stop', (before) => restartCleanly(running, before))
  await measure('after kill -9 under load', (before) => restartAfterKill(running, before, loadMs))
}

/** Describes a start for the column of details. */
export function restartDetails({ listensMs }: Restart): Readonly<Record<string, number>> {
  return { 's until it listens': listensMs / 1000 }
}
