/** What workers tell of their messages, and what follows from it. */
import { behaviourOf } from './work_settings.js'

/** Why a message was handled once more although a handler had come to its end. */
export type RepeatReason = 'its worker crashed' | 'its time was over' | 'its lease was lost' | 'unexplained'

/** A worker as its diary knows it. */
export interface Teller {
  hasCrashed: boolean
  /** Whether it was frozen and may have been about to begin a message just then: that one it begins when it wakes. */
  mayBeginLate: boolean
  /** Times that the broker has refused an end, since the lease was over. */
  lost: number
}

export class Diary {
  /** By digest: the workers whose handlers came to their end, in the order in which that was told. */
  readonly handled = new Map<string, Teller[]>()
  /** By digest: the worker whose acknowledgement was confirmed. */
  readonly confirmed = new Map<string, Teller>()
  readonly #confirmedAtNs = new Map<string, bigint>()
  /** By digest: when handlers began. Lines of several workers are read in another order than they were written in. */
  readonly #begun = new Map<string, { readonly teller: Teller; readonly atNs: bigint }[]>()
  readonly #failed = new Map<string, Set<Teller>>()

  /** Takes a line of a worker; see work_member.ts. @returns its words */
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

  /** Deliveries of messages whose acknowledgement was confirmed before. */
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
   * Whether a handler came to its end whose acknowledgement may have reached the broker, though its worker could not tell:
   * it crashed, or the confirmation was lost on its way and the repeat refused.
   */
  mayBeDone(digest: string): boolean {
    return (this.handled.get(digest) ?? []).some(({ hasCrashed, lost }) => hasCrashed || lost > 0)
  }

  /** Messages that were handled to the end more than once, by the reason why the first of these ends did not count. */
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
