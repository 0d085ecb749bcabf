import { countOf, MillraceError, type Runs, rangesOf } from '../../protocol/index.js'

/** Limit of the messages in one request. */
const namedMax = 100_000

/**
 * Checks the runs in one request of a client.
 * @throws MillraceError BAD_REQUEST, LIMIT_EXCEEDED
 */
export function checkRuns(all: Iterable<Runs>): void {
  let named = 0
  for (const runs of all) {
    if (runs.length % 2 !== 0)
      throw new MillraceError(
        'BAD_REQUEST',
        'offsets is invalid, expected pairs of a first offset and a count',
      )
    named += countOf(runs)
    for (const [, end] of rangesOf(runs))
      if (!Number.isSafeInteger(end))
        throw new MillraceError('BAD_REQUEST', 'offsets is invalid, expected offsets below 2^53')
  }
  if (named > namedMax)
    throw new MillraceError(
      'LIMIT_EXCEEDED',
      `the request has ${named} offsets, expected at most ${namedMax}`,
    )
}
