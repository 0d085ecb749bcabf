import { durationText, MillraceError } from '../../protocol/index.js'
import { dedupeWindowMsOf } from '../topics/settings.js'
import type { Topic } from '../topics/topic.js'

/** The clock may be corrected by this, so the broker may forget an id that much earlier. */
const clockSlackMs = 1_000

/**
 * Whether an earlier send of a request may have appended a message whose id is unknown by now: the broker may have
 * forgotten the id. It knows the id of a message that is still to be delayed.
 * @param sentAgoMs upper bound of the time since the first send
 * @param dueMs 0: the message is not to be delayed, or its delay is over
 * @param id empty: none
 */
export function mayBeForgotten({ settings }: Topic, sentAgoMs: number, dueMs: number, id: string): boolean {
  if (id === '') return true
  return dueMs === 0 && sentAgoMs + clockSlackMs >= dedupeWindowMsOf(settings)
}

/** The error for such a message. */
export function forgottenError({ name, settings }: Topic, sentAgoMs: number, id: string): MillraceError {
  const windowMs = dedupeWindowMsOf(settings)
  const memory =
    windowMs === 0
      ? `topic "${name}" remembers no ids`
      : `topic "${name}" remembers ids for ${durationText(windowMs)}`
  const why = id === '' ? 'the message has no id' : `${memory} (dedupeWindowMs)`
  const sentAgo = durationText(Math.round(sentAgoMs))
  return new MillraceError(
    'OUTCOME_UNKNOWN',
    `the reply to the publish was lost, and the broker may have published the message: it is there once or not at all. The client repeated the request up to ${sentAgo} later, which is too late to tell: ${why}`,
  )
}
