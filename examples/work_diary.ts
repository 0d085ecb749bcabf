/** The reports of workers about their messages, and the conclusions from them. */
import { behaviourOf } from './work_settings.js'

/** Why a message was handled again although a handler had finished it. */
export type RepeatReason = 'its worker crashed' | 'its time was over' | 'its lease was lost' | 'unexplained'

/** A worker in the diary. */
export interface Teller {
  hasCrashed: boolean
  /** Whether it was frozen and may have been about to begin a message: it begins that one when it wakes up. */
  mayBeginLate: boolean
  /** Number of settlements that the broker refused because the lease had ended. */
  lost: number
}

export class Diary {
  /** By digest: the workers whose handlers finished, in the order of the reports. */
  readonly handled = new Map<string, Teller[]>()
  /** By digest: the worker whose acknowledgement was confirmed. */
  readonly confirmed = new Map<string, Teller>()
  readonly #confirmedAtNs = new Map<string, bigint>()
  /** By digest: when handlers began. The diary may get lines of several workers out of order. */
  readonly #begun = new Map<string, { readonly teller: Teller; readonly atNs: bigint }[]>()
  readonly #failed = new Map<string, Set<Teller>>()

  /** Adds a line of a worker; see work_member.ts. @returns its words */
  read(line: string, teller: Teller): readonly [what: string, digest: string, attempt: number] {
    const [time = '0', what = '', digest = '', attempt = '0'] = line.split(' ')
    const atNs = BigInt(time)
    if (what === 'lost') teller.lost++
    if (what === 'confirmed') {
      this.confirmed.set(digest, teller)
      if (!this.#confirmedAtNs.has(digest)) this.#confirmedAtNs.set(digest, atNs)
    }
    if (what === 'begun') this.#begun.set(digest, [...(this.#begun.get(digest) ?? []), { teller, atNs }])
    if (what === 'handled') this.handled.set(digest, [...(this.handled.get(digest) ?? []), teller])
    if (what === 'failed') this.#failed.set(digest, (this.#failed.get(digest) ?? new Set()).add(teller))
    return [what, digest, Number(attempt)]
  }

  /** Deliveries of messages after their confirmed acknowledgement. */
  afterConfirmed(): number {
    const excused = new Set<Teller>()
    let count = 0
    for (const [digest, confirmedAtNs] of this.#confirmedAtNs)
      for (const { teller, atNs } of this.#begun.get(digest) ?? []) {
        if (atNs <= confirmedAtNs) continue
        if (teller.mayBeginLate && !excused.has(teller)) excused.add(teller)
        else count++
      }
    return count
  }

  /**
   * Whether a handler finished whose acknowledgement may have reached the broker, although its worker could not report
   * it:
   * it crashed, or the confirmation was lost and the repeat refused.
   */
  mayBeDone(digest: string): boolean {
    return (this.handled.get(digest) ?? []).some(({ hasCrashed, lost }) => hasCrashed || lost > 0)
  }

  /** Messages that were handled to the end more than once, by the reason why the first end did not count. */
  repeats(): Readonly<Partial<Record<RepeatReason, number>>> {
    const counts: Partial<Record<RepeatReason, number>> = {}
    for (const [digest, tellers] of this.handled) {
      if (tellers.length < 2) continue
      const first = tellers.find((teller) => teller !== this.confirmed.get(digest)) ?? (tellers[0] as Teller)
      const reason = this.#reasonOf(digest, first)
      counts[reason] = (counts[reason] ?? 0) + 1
    }
    return counts
  }

  #reasonOf(digest: string, teller: Teller): RepeatReason {
    if (behaviourOf(digest) === 'late' && this.#failed.get(digest)?.has(teller)) return 'its time was over'
    if (teller.hasCrashed) return 'its worker crashed'
    return teller.lost > 0 ? 'its lease was lost' : 'unexplained'
  }
}
