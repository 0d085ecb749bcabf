import { commands } from '../../protocol/index.js'
import type { Address } from '../address.js'
import { Cluster } from '../cluster.js'
import type { LinkOptions } from '../link.js'

/** Configuration of lease keeping for one worker. */
export interface LeaseThreadData {
  readonly addresses: readonly Address[]
  readonly options: LinkOptions
  readonly group: string
  readonly workerId: string
  readonly leaseMs: number
  /** See `WorkOptions`. */
  readonly blockedMsMax: number
  /** Time of the last turn of the worker's event loop, in ms of the process's monotonic clock. */
  readonly beat: BigInt64Array
}

export interface LeaseThreadMessage {
  readonly added: readonly number[]
  readonly removed: readonly number[]
  /** Number of the last check whether the leases still exist; lease keeping runs a new check at once. */
  readonly question: number
  /** Whether to send reports to the broker even without leases. */
  readonly reportsAlways: boolean
}

export interface LeaseThreadReport {
  readonly lost: readonly number[]
  /**
   * All other leases were extended at this time or later, in ms of the process's monotonic clock, after the check
   * `question`. Absent if some leases were not extended.
   */
  readonly extended?: { readonly atMs: number; readonly question: number }
}

const grantsPerRequest = 10_000
/**
 * If the broker does not answer within a quarter of a lease, or within this time, lease keeping opens a new connection.
 */
const patienceMsMin = 500
const retryMsMin = 100

/** A message to the thread: the number of a worker, and its request. */
export type ToLeaseThread = { readonly worker: number } & (
  | { readonly open: LeaseThreadData }
  | { readonly message: LeaseThreadMessage }
  | { readonly close: true }
)

/** A message from the thread: it has started, or a report for a worker, or a worker is closed. */
export type FromLeaseThread =
  | { readonly started: true }
  | { readonly worker: number; readonly report: LeaseThreadReport }
  | { readonly worker: number; readonly closed: true }

/** Lease keeping for one worker. */
export interface LeaseKeeping {
  receive(message: LeaseThreadMessage): void
  end(): void
}

/** Connections that keep the leases of several workers. */
class SharedClusters {
  readonly #clusters = new Map<string, { readonly cluster: Cluster; users: number }>()

  /** Returns the cluster for these options, and a function that releases it. */
  take({ addresses, options, leaseMs }: LeaseThreadData): [cluster: Cluster, release: () => void] {
    const key = JSON.stringify([addresses, options, leaseMs])
    const patienceMs = Math.min(options.requestTimeoutMs, Math.max(patienceMsMin, leaseMs / 4))
    const connectTimeoutMs = Math.min(options.connectTimeoutMs, patienceMs)
    const shared = this.#clusters.get(key) ?? {
      cluster: new Cluster(addresses, { ...options, requestTimeoutMs: patienceMs, connectTimeoutMs }),
      users: 0,
    }
    shared.users++
    this.#clusters.set(key, shared)
    const release = (): void => {
      if (--shared.users > 0) return
      this.#clusters.delete(key)
      shared.cluster.close()
    }
    return [shared.cluster, release]
  }
}

const clusters = new SharedClusters()

/** Extends leases several times within their length, while the event loop of the worker turns regularly. */
export function keepLeases(data: LeaseThreadData, report: (report: LeaseThreadReport) => void): LeaseKeeping {
  const { group, workerId, leaseMs, blockedMsMax, beat } = data
  const [cluster, release] = clusters.take(data)
  const grants = new Set<number>()
  const ending = new AbortController()
  const { signal } = ending
  let isExtending = false
  let reportsAlways = false
  let question = 0

  const extend = async (): Promise<void> => {
    const nowMs = process.hrtime.bigint() / 1_000_000n
    if (
      (grants.size === 0 && !reportsAlways) ||
      isExtending ||
      signal.aborted ||
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
        const { lost } = await cluster.call(commands.queueExtend, request, { repeatable: true, signal })
        for (const id of lost) grants.delete(id)
        if (lost.length > 0) report({ lost })
      }
      report({ lost: [], extended: { atMs: Number(nowMs), question: asked } })
      isDone = true
    } catch {
      // The next attempt comes soon, before the lease ends. If the broker stays unreachable, the worker learns it from
      // its own requests.
    } finally {
      isExtending = false
    }
    if (asked !== question) await extend()
    else if (!isDone) setTimeout(() => void extend(), Math.max(retryMsMin, leaseMs / 16)).unref()
  }

  const timer = setInterval(() => void extend(), Math.max(200, leaseMs / 4)).unref()
  return {
    receive(message) {
      for (const id of message.added) grants.add(id)
      for (const id of message.removed) grants.delete(id)
      const isAsked = message.question !== question || (message.reportsAlways && !reportsAlways)
      question = message.question
      reportsAlways = message.reportsAlways
      if (isAsked) void extend()
    },
    end() {
      clearInterval(timer)
      ending.abort()
      release()
    },
  }
}
