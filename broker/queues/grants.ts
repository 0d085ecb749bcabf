import type { OpenMessage } from './delivery_state.js'
import type { WorkerSession } from './host.js'
import type { QueueMessage } from './queue_message.js'

/** Messages that were leased together, under one fencing token. */
export interface Grant {
  readonly id: number
  /** Empty for a grant from before a restart whose worker is not recorded. */
  readonly workerId: string
  /** The connection that the reply goes to; undefined for a grant from before a restart. */
  readonly session: WorkerSession | undefined
  readonly leaseMs: number
  /** When it is over, ms of the monotonic clock. */
  deadlineMs: number
  /** Whether the worker has named it: it has the messages. */
  isReceived: boolean
  /**
   * Whether its end counts as an attempt: not when its worker is known not to have it, or when it ended before its worker
   * could reconnect to a broker that restarted.
   */
  isCounted: boolean
  /** Whether the journal has its end, so that the next restart does not renew it. */
  isBounded: boolean
  /** Those that are not settled. */
  readonly messages: Set<QueueMessage>
}

/** Time in which a worker reconnects to a broker that was restarted and names its leases. */
const reconnectMs = 2_000

/** The grants of a queue group. */
export class Grants {
  readonly #byId = new Map<number, Grant>()
  #renewed: Grant[] = []

  get size(): number {
    return this.#byId.size
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
   * A lease from before a restart begins again, so that its worker has time to come back; a second restart does not prolong it.
   * @param nowMs wall clock
   */
  inherit(message: QueueMessage, open: OpenMessage, nowMs: number): void {
    const { grantId: id, leaseMs, workerId, endsAtMs } = open
    let grant = this.#byId.get(id)
    if (grant === undefined) {
      const leftMs = endsAtMs === 0 ? leaseMs : Math.min(leaseMs, Math.max(0, endsAtMs - nowMs))
      grant = {
        id,
        workerId,
        session: undefined,
        leaseMs,
        deadlineMs: performance.now() + leftMs,
        isReceived: false,
        isCounted: leftMs >= Math.min(reconnectMs, leaseMs / 2),
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

  /** A message is not under its grant any more. */
  release(message: QueueMessage): void {
    const { grant } = message
    message.grant = undefined
    if (grant === undefined) return
    grant.messages.delete(message)
    if (grant.messages.size === 0) this.#byId.delete(grant.id)
  }

  /** Those whose time is over. */
  over(nowMs: number): Grant[] {
    const over: Grant[] = []
    for (const grant of this.#byId.values()) if (grant.deadlineMs <= nowMs) over.push(grant)
    return over
  }
}
