import { type commands, limits, MillraceError } from '../../protocol/index.js'
import type { Handler } from './handler.js'

const replySend: Handler<typeof commands.replySend> = ({ broker }, { to, requestId, error }, payload) => {
  // The memory of the request is reused after the reply.
  broker.replies.send(to, { requestId, error, value: Buffer.from(payload) })
  return { body: {} }
}

const replyPoll: Handler<typeof commands.replyPoll> = async (
  { broker, session },
  { address, waitMs, received },
) => {
  if (broker.draining) throw new MillraceError('DRAINING')
  const { replies, number } = await broker.replies.poll(
    address,
    Math.min(waitMs, limits.fetchWaitMsMax),
    received,
    (callback) => session.onClose(callback),
  )
  return {
    body: {
      replies: replies.map(({ requestId, value, error }) => [requestId, value.length, error] as const),
      number,
    },
    payload: replies.map(({ value }) => value),
  }
}

export const replyHandlers = { replySend, replyPoll }
