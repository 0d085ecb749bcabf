import type { TestContext } from '../helpers/context.js'
import type { Random } from '../helpers/random.js'

/**
 * A campaign repeats one kind of fault round by round and judges what it did. It is a value: `campaigns.ts` lists all, and
 * `npm run faults` and the tests run them from there, the tests with few rounds.
 */
export interface Campaign {
  /** Lower case with dashes, as the command line takes it. */
  readonly name: string
  /** What happens in it, in one line. */
  readonly title: string
  /** Rounds of a full campaign, and those of the short part in the normal test run. */
  readonly rounds: { readonly full: number; readonly short: number }
  /** Deadline of one round in milliseconds; a round that takes longer is a finding. */
  readonly roundDeadlineMs: number
  /** Why it can't run on this machine, or undefined. Told to the user, so it says what is missing. */
  unavailable(): Promise<string | undefined>
  /** One round; what it opens it gives to `context.defer`. */
  round(context: RoundContext): Promise<RoundResult>
}

/** What a round is given. Cleanups, temporary folders and the signal last as long as the round. */
export interface RoundContext extends TestContext {
  /** Number of the round, from 0. */
  readonly index: number
  /** The only source of chance in a round: the same seed repeats its plan. */
  readonly rng: Random
  /** Folder for histories and other evidence, kept when the round found something. */
  readonly evidenceDir: string
  /** A planted fault that the brokers of this round have (`planted.ts`), to try the harness itself. */
  readonly planted: string | undefined
  /** A shorter round, for the normal test run. */
  readonly short: boolean
  /** A line of progress. */
  log(line: string): void
}

/** Something that must not be. */
export interface Finding {
  /** The check that noticed, like `lost-write`. */
  readonly check: string
  /** What was seen, where, and what was expected; enough to go on from without running anything again. */
  readonly evidence: string
}

/** What came of one round. */
export interface RoundResult {
  /** Operations whose outcome was checked. */
  readonly operations: number
  /** Faults injected, by kind. */
  readonly faults: Readonly<Record<string, number>>
  readonly findings: readonly Finding[]
  /** Set when nothing succeeded, so that the round proves nothing: why. */
  readonly unknown?: string
  /** Samples of measurements by name, with the unit in the name: `reopen ms`. Gathered over rounds, shown as p50, p99 and maximum. */
  readonly samples?: Readonly<Record<string, readonly number[]>>
}

/** Ends a round with a finding. */
export class FoundError extends Error {
  readonly check: string

  constructor(check: string, evidence: string, options?: ErrorOptions) {
    super(evidence, options)
    this.check = check
  }
}
