import { type BenchContext, type FigureOptions, latencyDetails, type Scenario } from '../lib/scenario.js'
import { median } from '../lib/statistics.js'
import { type LatencyAtRate, runLatency } from '../sdk/sdk.js'

const messageBytes = 100
const rates = [1_000, 5_000, 20_000, 50_000, 100_000, 200_000, 400_000, 800_000]
/** Typical rates, not maximum rates. */
const p50TargetsMs: Readonly<Record<number, number>> = { 1000: 1.5, 5000: 1.5 }
const achievedShareMin = 0.95
const p99MsMax = 1_000

/**
 * Latency of a message at a fixed rate, from its intended publish to its receipt as a single
 * delivery in a group. Rates grow until one is not achieved, or the p99 passes a second: the publisher with its promise
 * for
 * each message, the broker or the consumer may saturate first. Messages are
 * sent in small bursts, every 0.2 ms up to 20,000 a second and every millisecond above, so they are slightly late,
 * which counts: the
 * details give this delay.
 */
export const latencyScenario: Scenario = {
  name: 'latency',
  summary: 'from intended publish to receipt at fixed rates, up to saturation',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    for (const messagesPerS of context.quick ? [1_000, 400_000] : rates) {
      const runs = await measureRate(context, messagesPerS)
      const achieved = median(runs.map(({ receivedPerS }) => receivedPerS))
      const p99Ms = median(runs.map(({ latency }) => latency.p99Ms))
      if (achieved >= achievedShareMin * messagesPerS && p99Ms <= p99MsMax) continue
      context.progress(`saturated: ${Math.round(achieved)} of ${messagesPerS} messages/s`)
      return
    }
  },
}

async function measureRate(context: BenchContext, messagesPerS: number): Promise<readonly LatencyAtRate[]> {
  const { dataRoot } = context
  const target = p50TargetsMs[messagesPerS]
  const interval = target === undefined ? context.shortInterval : context.latencyInterval
  const work = `latency, ${messageBytes} B, ${messagesPerS.toLocaleString('en')} messages/s`
  const isPipeRate = messagesPerS === 1_000
  const pipe = isPipeRate ? { pipe: await context.pipeLatency({ messageBytes, messagesPerS }) } : {}
  const runs: LatencyAtRate[] = []
  for (let i = 1; i <= context.runs; i++) {
    context.progress(`${work}: run ${i} of ${context.runs}`)
    runs.push(await runLatency({ messageBytes, messagesPerS, dataRoot, ...interval }))
  }
  const add = (percentile: 'p50Ms' | 'p99Ms', more: Partial<FigureOptions>, isDrawn: boolean): void =>
    context.addMeasured(
      { name: `${work}, ${percentile.slice(0, 3)}`, unit: 'ms', better: 'lower', ...more },
      runs.map(({ latency, receivedPerS, lateP50Ms }) => ({
        value: latency[percentile],
        details: {
          'achieved messages/s': receivedPerS,
          'p50 ms late when sent': lateP50Ms,
          ...latencyDetails(latency),
        },
        ...(isDrawn ? { latency } : {}),
      })),
    )
  add('p50Ms', target === undefined ? {} : { target }, false)
  add('p99Ms', pipe, true)
  return runs
}
