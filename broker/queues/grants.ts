import type { OpenMessage } from './delivery_state.js'
import type { QueueMessage } from './queue_message.js'

/** Messages that were leased together, under one fencing token. */
export interface Grant {
  readonly id: number
  /** Empty for a grant from before a restart whose worker has not shown itself yet. */
  readonly workerId: string
  readonly leaseMs: number
  /** When it is over, ms of the monotonic clock. */
  deadlineMs: number
  /** Those that are not settled. */
  readonly messages: Set<QueueMessage>
}

/** The grants of a queue group. */
export class Grants {
  readonly #byId = new Map<number, Grant>()

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

  /** A lease from before a restart begins anew, so that its worker has time to come back. */
  inherit(message: QueueMessage, { grantId: id, leaseMs }: OpenMessage): void {
    let grant = this.#byId.get(id)
    if (grant === undefined) {
      grant = { id, workerId: '', leaseMs, deadlineMs: performance.now() + leaseMs, messages: new Set() }
      this.add(grant)
    }
    message.state = 'leased'
    message.grant = grant
    grant.messages.add(message)
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
