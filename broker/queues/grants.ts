import type { OpenMessage } from './delivery_state.js'
import type { WorkerSession } from './host.js'
import type { QueueMessage } from './queue_message.js'

/** Messages that were leased together, under one fencing token. */
export interface Grant {
  readonly id: number
  /** Empty for a grant from before a restart if its worker is not recorded. */
  readonly workerId: string
  /** The connection of the reply; undefined for a grant from before a restart. */
  readonly session: WorkerSession | undefined
  readonly leaseMs: number
  /** End of the lease, ms of the group's clock. */
  deadlineMs: number
  /** Whether the worker has reported the grant: it has the messages. */
  isReceived: boolean
  /**
   * Whether the end of the lease counts as an attempt. It does not if the worker is known not to have it, or if it
   * ended before the worker could reconnect to a restarted broker.
   */
  isCounted: boolean
  /** Whether the journal has the end of the lease, so that the next restart does not renew it. */
  isBounded: boolean
  /** Messages that are not settled. */
  readonly messages: Set<QueueMessage>
}

/**
 * Time for a worker to reconnect to a restarted broker and to report its leases: several pauses of the SDK between
 * attempts, on a busy machine.
 */
const reconnectMs = 10_000

/** The grants of a queue group. */
export class Grants {
  readonly #clockMs: () => number
  readonly #byId = new Map<number, Grant>()
  #renewed: Grant[] = []

  get size(): number {
    return this.#byId.size
  }

  /** @param clockMs the clock of `deadlineMs` */
  constructor(clockMs: () => number = () => performance.now()) {
    this.#clockMs = clockMs
  }

  get(id: number): Grant | undefined {
    return this.#byId.get(id)
  }

  values(): Iterable<Grant> {
    return this.#byId.values()
  }

  add(grant: Grant): void {
    this.#byId.set(grant.id, grant)
  }

  /**
   * Restarts a lease from before a restart of the broker, so that its worker has time to reconnect, even if the lease
   * is shorter. A second restart does not extend it further.
   * @param nowMs wall clock
   */
  inherit(message: QueueMessage, open: OpenMessage, nowMs: number): void {
    const { grantId: id, leaseMs, workerId, endsAtMs } = open
    let grant = this.#byId.get(id)
    if (grant === undefined) {
      const renewedMs = Math.max(leaseMs, reconnectMs)
      const leftMs = endsAtMs === 0 ? renewedMs : Math.min(renewedMs, Math.max(0, endsAtMs - nowMs))
      grant = {
        id,
        workerId,
        session: undefined,
        leaseMs,
        deadlineMs: this.#clockMs() + leftMs,
        isReceived: false,
        isCounted: leftMs >= reconnectMs,
        isBounded: endsAtMs !== 0,
        messages: new Set(),
      }
      this.add(grant)
      if (endsAtMs === 0) this.#renewed.push(grant)
    }
    message.state = 'leased'
    message.grant = grant
    grant.messages.add(message)
  }

  /** Grants that were inherited since the last call and whose end is not in the journal. */
  takeRenewed(): Grant[] {
    return this.#renewed.splice(0)
  }

  /** Removes a message from its grant. */
  release(message: QueueMessage): void {
    const { grant } = message
    message.grant = undefined
    if (grant === undefined) return
    grant.messages.delete(message)
    if (grant.messages.size === 0) this.#byId.delete(grant.id)
  }

  /** Grants whose lease is over. */
  over(nowMs: number): Grant[] {
    const over: Grant[] = []
    for (const grant of this.#byId.values()) if (grant.deadlineMs <= nowMs) over.push(grant)
    return over
  }
}
