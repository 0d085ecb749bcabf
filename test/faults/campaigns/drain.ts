import { setTimeout as sleep } from 'node:timers/promises'
import type { Campaign, Finding } from '../campaign.js'
import type { HistoryEvent, PublishCall } from '../history/history.js'
import { Trial } from '../trial/trial.js'
import { isRawPublisher } from '../workloads/publishers.js'

const drains = { full: 5, short: 1 }
const drainMsMax = 10_000

/** SIGTERM under load: what was asked is answered, nothing is lost, and the broker ends by itself in time. */
export const drain: Campaign = {
  name: 'drain',
  title: 'SIGTERM at random times under load',
  rounds: { full: 20, short: 1 },
  roundDeadlineMs: 180_000,
  unavailable: async () => undefined,
  async round(context) {
    const { rng } = context
    const trial = await Trial.start(context, { workload: rng.pick(['log', 'mix']), clients: 2 })
    const drainMs: number[] = []
    for (let count = context.short ? drains.short : drains.full; count > 0; count--) {
      await trial.progress(rng.int(1, 600))
      await sleep(rng.int(0, 20))
      trial.inject('SIGTERM')
      const { code, signal, ms } = await trial.broker.terminate()
      drainMs.push(ms)
      if (code !== 0) trial.find('drain-exit', `ended with ${signal ?? code} instead of 0`)
      if (ms > drainMsMax) trial.find('drain-late', `took ${Math.round(ms)} ms, allowed are ${drainMsMax}`)
      await trial.restart()
      trial.heal('SIGTERM')
    }
    await trial.progress(200)
    const result = await trial.conclude()
    const findings = [...result.findings, ...resetHalfWay(await trial.events())]
    return { ...result, findings, samples: { ...result.samples, 'drain ms': drainMs } }
  },
}

/**
 * Requests that the broker carried out and did not answer. Publishers of the protocol alone send each request once, so one
 * that lost its connection and is in the log all the same was cut off between the two.
 */
function resetHalfWay(events: readonly HistoryEvent[]): Finding[] {
  const calls = new Map<string, PublishCall>()
  const unanswered = new Map<string, string>()
  const findings: Finding[] = []
  for (const event of events) {
    if (event.type === 'invoke' && event.call.op === 'publish')
      calls.set(`${event.process} ${event.id}`, event.call)
    const call = event.type === 'info' ? calls.get(`${event.process} ${event.id}`) : undefined
    if (call !== undefined && isRawPublisher(event.process)) unanswered.set(call.value, event.process)
    if (event.type !== 'drained' || event.drain !== 2) continue
    for (const [offset, value] of event.records) {
      const process = unanswered.get(value)
      if (process === undefined) continue
      const evidence = `'${value}' of ${process} is at ${event.topic}/${event.partition} offset ${offset} and was never answered`
      findings.push({ check: 'reset-half-way', evidence })
    }
  }
  return findings
}
