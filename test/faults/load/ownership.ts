/** Ownership of a partition by a member, on one monotonic clock (ms). */
interface Tenure {
  readonly member: string
  readonly sinceMs: number
  untilMs: number
}

/**
 * Knowledge of the members of a group about their partitions, and their deliveries. Finds two owners at a time, and
 * the lateness of messages in unmoved partitions.
 */
export class Ownership {
  readonly #tenures: Tenure[][]
  readonly #deliveries = new Map<string, number>()
  /** For messages that were published while their receiver already owned the partition: time to delivery, in ms. */
  readonly unmovedMs: number[] = []
  readonly problems: string[] = []

  constructor(partitions: number) {
    this.#tenures = Array.from({ length: partitions }, () => [])
  }

  assigned(member: string, partitions: readonly number[], nowMs: number): void {
    for (const partition of partitions) {
      const tenures = this.#tenures[partition] ?? []
      for (const other of tenures) {
        if (other.member !== member && other.untilMs > nowMs)
          this.problems.push(
            `partition ${partition} was given to ${member} while ${other.member} had it, since ${Math.round(nowMs - other.sinceMs)} ms`,
          )
      }
      tenures.push({ member, sinceMs: nowMs, untilMs: Number.POSITIVE_INFINITY })
    }
  }

  revoked(member: string, partitions: readonly number[], nowMs: number): void {
    for (const partition of partitions) {
      for (const tenure of this.#tenures[partition] ?? [])
        if (tenure.member === member) tenure.untilMs = Math.min(tenure.untilMs, nowMs)
    }
  }

  /** The member leaves, dies or stops responding. */
  ended(member: string, nowMs: number): void {
    this.revoked(member, [...this.#tenures.keys()], nowMs)
  }

  delivered(member: string, partition: number, value: string, sentMs: number, nowMs: number): void {
    this.#deliveries.set(value, (this.#deliveries.get(value) ?? 0) + 1)
    const tenure = this.#tenures[partition]?.findLast((one) => one.member === member)
    if (tenure === undefined || tenure.untilMs < nowMs)
      this.problems.push(
        `${value} of partition ${partition} was delivered to ${member}, which does not own it`,
      )
    else if (tenure.sinceMs < sentMs) this.unmovedMs.push(nowMs - sentMs)
  }

  /** Number of members that believe to own each partition. */
  owners(nowMs: number): number[] {
    return this.#tenures.map((tenures) => tenures.filter(({ untilMs }) => untilMs > nowMs).length)
  }

  get values(): ReadonlyMap<string, number> {
    return this.#deliveries
  }
}
