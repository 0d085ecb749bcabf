import type { TestContext } from '../helpers/context.js'
import type { Random } from '../helpers/random.js'

/**
 * A campaign repeats one kind of fault round by round and judges the results. It is a value: `campaigns.ts` lists all,
 * and
 * `npm run faults` and the tests run them from there, the tests with few rounds.
 */
export interface Campaign {
  /** Lower case with dashes, as on the command line. */
  readonly name: string
  /** A description in one line. */
  readonly title: string
  /** Rounds of a full campaign, and of the short one in the normal test run. */
  readonly rounds: { readonly full: number; readonly short: number }
  /** Deadline of one round in milliseconds; a longer round is a finding. */
  readonly roundDeadlineMs: number
  /** The reason why it cannot run on this machine, or undefined. Users read it, so it names the missing part. */
  unavailable(): Promise<string | undefined>
  /** One round; it registers cleanups with `context.defer`. */
  round(context: RoundContext): Promise<RoundResult>
}

/** The context of a round. Cleanups, temporary folders and the signal last as long as the round. */
export interface RoundContext extends TestContext {
  /** Number of the round, from 0. */
  readonly index: number
  /** The only source of randomness in a round: the same seed repeats its plan. */
  readonly rng: Random
  /** Folder for histories and other evidence, kept if the round found something. */
  readonly evidenceDir: string
  /** A planted fault in the brokers of this round (`planted.ts`), for tests of the harness itself. */
  readonly planted: string | undefined
  /** A shorter round, for the normal test run. */
  readonly short: boolean
  /** A line of progress. */
  log(line: string): void
}

/** A violation. */
export interface Finding {
  /** The check that found it, like `lost-write`. */
  readonly check: string
  /** The observation, the place and the expected value; enough to continue without another run. */
  readonly evidence: string
}

/** The result of one round. */
export interface RoundResult {
  /** Operations with a checked outcome. */
  readonly operations: number
  /** Faults injected, by kind. */
  readonly faults: Readonly<Record<string, number>>
  readonly findings: readonly Finding[]
  /** Set if nothing succeeded, so that the round proves nothing: the reason. */
  readonly unknown?: string
  /**
   * Samples of measurements by name, with the unit in the name: `reopen ms`. Collected over rounds, shown as p50, p99
   * and maximum.
   */
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
