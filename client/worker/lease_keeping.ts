import { commands } from '../../protocol/index.js'
import type { Address } from '../address.js'
import { Cluster } from '../cluster.js'
import type { LinkOptions } from '../link.js'

/** What lease keeping is started with. */
export interface LeaseThreadData {
  readonly addresses: readonly Address[]
  readonly options: LinkOptions
  readonly group: string
  readonly workerId: string
  readonly leaseMs: number
  /** See `WorkOptions`. */
  readonly blockedMsMax: number
  /** When the event loop of the worker turned last, by the process's monotonic clock in ms. */
  readonly beat: BigInt64Array
}

export interface LeaseThreadMessage {
  readonly added: readonly number[]
  readonly removed: readonly number[]
  /** The number of the last question whether the leases are still there; a new one is answered at once. */
  readonly question: number
  /** Whether the broker is told which leases there are even when there are none. */
  readonly reportsAlways: boolean
}

export interface LeaseThreadReport {
  readonly lost: readonly number[]
  /** The first report: the thread runs. */
  readonly started?: true
  /**
   * All others were prolonged at this time or later, by the process's monotonic clock in ms, after this question was put.
   * Absent: not all of them.
   */
  readonly extended?: { readonly atMs: number; readonly question: number }
}

const grantsPerRequest = 10_000
/** A broker that does not answer for a quarter of a lease, or for this, has a connection too many: the next one may do. */
const patienceMsMin = 500
const retryMsMin = 100

/** Where messages to lease keeping come from, and where its reports go. */
export interface LeasePort {
  post(report: LeaseThreadReport): void
  onMessage(receive: (message: LeaseThreadMessage) => void): void
}

/**
 * Prolongs leases a few times within their length, for as long as the event loop of the worker turns now and then.
 * Returns what ends it.
 */
export function keepLeases(data: LeaseThreadData, port: LeasePort): () => void {
  const { addresses, options, group, workerId, leaseMs, blockedMsMax, beat } = data
  const patienceMs = Math.min(options.requestTimeoutMs, Math.max(patienceMsMin, leaseMs / 4))
  const connectTimeoutMs = Math.min(options.connectTimeoutMs, patienceMs)
  const cluster = new Cluster(addresses, { ...options, requestTimeoutMs: patienceMs, connectTimeoutMs })
  const grants = new Set<number>()
  let isExtending = false
  let isEnded = false
  let reportsAlways = false
  let question = 0

  const extend = async (): Promise<void> => {
    const nowMs = process.hrtime.bigint() / 1_000_000n
    if (
      (grants.size === 0 && !reportsAlways) ||
      isExtending ||
      isEnded ||
      nowMs - Atomics.load(beat, 0) > BigInt(blockedMsMax)
    )
      return
    isExtending = true
    const asked = question
    let isDone = false
    try {
      const all = [...grants]
      for (let at = 0; at < Math.max(1, all.length); at += grantsPerRequest) {
        const some = all.slice(at, at + grantsPerRequest)
        const request =
          some.length === all.length ? { group, workerId, grants: some } : { group, grants: some }
        const { lost } = await cluster.call(commands.queueExtend, request, { repeatable: true })
        for (const id of lost) grants.delete(id)
        if (lost.length > 0) port.post({ lost })
      }
      port.post({ lost: [], extended: { atMs: Number(nowMs), question: asked } })
      isDone = true
    } catch {
      // Tried again soon, while the lease runs. If the broker can't be reached for longer, the worker learns from its own requests.
    } finally {
      isExtending = false
    }
    if (asked !== question) await extend()
    else if (!isDone) setTimeout(() => void extend(), Math.max(retryMsMin, leaseMs / 16)).unref()
  }

  const timer = setInterval(() => void extend(), Math.max(200, leaseMs / 4)).unref()
  port.onMessage((message) => {
    for (const id of message.added) grants.add(id)
    for (const id of message.removed) grants.delete(id)
    const isAsked = message.question !== question || (message.reportsAlways && !reportsAlways)
    question = message.question
    reportsAlways = message.reportsAlways
    if (isAsked) void extend()
  })
  return () => {
    isEnded = true
    clearInterval(timer)
    cluster.close()
  }
}
