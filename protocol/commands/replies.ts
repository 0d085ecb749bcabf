import { integer, list, optional, record, text, tuple } from '../shape.js'
import { command } from './command.js'
import { bytes, message, milliseconds } from './fields.js'

/** Address for replies: chosen by the requester, and not guessable (a UUID). */
const address = text(100)
const requestId = text(100)

/**
 * Sends the reply to a request: the payload is its value. The broker passes it directly to the client that polls the
 * address, without a log. If no client polls, the broker keeps it for some seconds.
 */
export const replySend = command({
  number: 60,
  name: 'reply.send',
  since: 1,
  request: record({
    to: address,
    requestId,
    /** Why there is no value. */
    error: optional(message),
  }),
  reply: record({}),
})

/**
 * Waits for replies to an address; a new poll ends the previous one. The payload holds the values back to back. With
 * `received`, the broker keeps replies that it has sent until a poll acknowledges them, and sends them again before.
 */
export const replyPoll = command({
  number: 61,
  name: 'reply.poll',
  since: 1,
  request: record({
    address,
    waitMs: milliseconds,
    /** `number` of the newest answer with replies that arrived; 0 if there is none. */
    received: optional(integer()),
  }),
  reply: record({
    /** [requestId, bytes of the value, reason if there is no value]. */
    replies: list(tuple(requestId, bytes, optional(message)), 100_000),
    /** Acknowledges these replies in the next poll. Only if the request has `received` and there are replies. */
    number: optional(integer()),
  }),
})
