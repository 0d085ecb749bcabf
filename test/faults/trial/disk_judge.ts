import { waitFor } from '../../helpers/wait_for.js'
import type { RoundContext } from '../campaign.js'
import { percentile } from '../figures.js'
import { Findings } from '../findings.js'
import { type ProbeCall, StoreProbe } from './store_probe.js'

/** The obligations of a broker to its clients while its disk accepts no writes. */
export interface DiskDuties {
  /** Names of the errors with which it may refuse a publish. */
  readonly refusals: readonly string[]
  /** Whether publishes may succeed in between, because there is some room. */
  readonly mayAccept: boolean
  /** Whether data on the disk must be readable; data in memory always has to be. */
  readonly readsDisk: boolean
}

const redMsMax = 1_000
const recoveryMsMax = 10_000
const publishMsMax = 2_000
/** Short rounds are a part of the tests, which run on busy machines: they look for hangs only. */
const shortSlack = 10

/** Judges by the calls of a probe how a broker handled a fault of its disk. */
export class DiskJudge {
  readonly findings = new Findings()
  readonly samples: Record<'health red ms' | 'refusal ms' | 'disk recovery ms', number[]> = {
    'health red ms': [],
    'refusal ms': [],
    'disk recovery ms': [],
  }
  readonly #probe: StoreProbe
  readonly #redMsMax: number
  readonly #publishMsMax: number

  constructor(probe: StoreProbe, { short }: Pick<RoundContext, 'short'>) {
    this.#probe = probe
    const slack = short ? shortSlack : 1
    this.#redMsMax = redMsMax * slack
    this.#publishMsMax = publishMsMax * slack
  }

  /** Waits until the health is not ok, which must happen within a second in a full round. */
  async red(fault: string, sinceMs: number): Promise<void> {
    const isRed = ({ outcome }: ProbeCall): boolean => outcome === 'degraded' || outcome === 'failed'
    const seen = await waitFor(
      'the health to turn red',
      () => this.#probe.since('status', sinceMs).find(isRed),
      { deadlineMs: 3 * this.#redMsMax },
    ).catch(() => undefined)
    const ms = seen === undefined ? Number.POSITIVE_INFINITY : seen.endedMs - sinceMs
    if (seen !== undefined) this.samples['health red ms'].push(ms)
    this.findings.expect(ms <= this.#redMsMax, 'health-late', () => {
      const told = JSON.stringify(StoreProbe.tally(this.#probe.since('status', sinceMs)))
      const published = JSON.stringify(StoreProbe.tally(this.#probe.since('publish', sinceMs)))
      return `${fault}: health red after ${ms} ms, expected within ${this.#redMsMax} ms; status said ${told}, publishes ${published}`
    })
  }

  /** Judges the calls that began during the fault, and their durations. */
  during(fault: string, beganMs: number, fromMs: number, toMs: number, duties: DiskDuties): void {
    const met = this.#probe.calls.publish.filter(({ endedMs }) => endedMs >= beganMs)
    const slowest = percentile(
      met.map(({ startedMs, endedMs }) => endedMs - startedMs),
      1,
    )
    this.findings.expect(
      slowest <= this.#publishMsMax,
      'slow-refusal',
      () =>
        `${fault}: a publish was pending for ${slowest.toFixed(0)} ms, expected under ${this.#publishMsMax} ms`,
    )
    const within = (kind: 'publish' | 'hotRead' | 'coldRead'): ProbeCall[] =>
      this.#probe.since(kind, fromMs).filter(({ startedMs }) => startedMs < toMs)
    this.#publishes(fault, within('publish'), duties)
    this.#reads(`${fault}: reading from memory`, within('hotRead'), true)
    this.#reads(`${fault}: reading from disk`, within('coldRead'), duties.readsDisk)
  }

  /** Waits until a publish succeeds again, without help. */
  async recovered(fault: string, sinceMs: number): Promise<void> {
    const first = await this.#probe.works('publish', sinceMs, recoveryMsMax).catch(() => undefined)
    if (first !== undefined) this.samples['disk recovery ms'].push(first.endedMs - sinceMs)
    this.findings.expect(first !== undefined, 'not-recovered', () => {
      const last = this.#probe.calls.publish.at(-1)
      return `${fault}: nothing was accepted within ${recoveryMsMax} ms after it was over: ${last?.outcome} ${last?.detail}`
    })
  }

  #publishes(fault: string, calls: readonly ProbeCall[], { refusals, mayAccept }: DiskDuties): void {
    const refused = calls.filter(({ outcome }) => outcome !== 'ok')
    const ms = refused.map(({ startedMs, endedMs }) => endedMs - startedMs)
    this.samples['refusal ms'].push(...ms)
    const tally = JSON.stringify(StoreProbe.tally(calls))
    this.findings.expect(refused.length > 0, 'not-refused', () => `${fault}: publishes came to ${tally}`)
    this.findings.expect(
      mayAccept || refused.length === calls.length,
      'accepted',
      () => `${fault}: publishes came to ${tally}, expected no "ok"`,
    )
    const [other] = refused.filter(({ outcome }) => !refusals.includes(outcome))
    this.findings.expect(
      other === undefined,
      'unnamed-refusal',
      () =>
        `${fault}: publishes came to ${tally}, such as ${other?.outcome} ${other?.detail}, expected ${refusals.join(' or ')}`,
    )
  }

  #reads(what: string, calls: readonly ProbeCall[], mustSucceed: boolean): void {
    const failed = calls.filter(({ outcome }) => outcome !== 'ok')
    const wrong = failed.filter(({ outcome }) => mustSucceed || outcome !== 'STORAGE_FAILED')
    this.findings.expect(
      wrong.length === 0,
      'read-failed',
      () =>
        `${what}: ${JSON.stringify(StoreProbe.tally(calls))}, the first ${wrong[0]?.outcome} ${wrong[0]?.detail}`,
    )
    this.findings.expect(
      !mustSucceed || calls.length > failed.length,
      'reads-stopped',
      () => `${what}: none of ${calls.length} succeeded`,
    )
  }
}
