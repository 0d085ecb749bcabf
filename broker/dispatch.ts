import {
  type Command,
  commandOf,
  commands,
  decodeBody,
  type Frame,
  MillraceError,
} from '../protocol/index.js'
import type { BrokerContext } from './context.js'
import { backupHandlers } from './handlers/backup.js'
import { connectionHandlers } from './handlers/connection.js'
import { fetchHandlers } from './handlers/fetch.js'
import { groupHandlers } from './handlers/groups.js'
import type { Handler, RequestContext } from './handlers/handler.js'
import { laterHandlers } from './handlers/later.js'
import { publishHandlers } from './handlers/publish.js'
import { queueHandlers } from './handlers/queues.js'
import { replyHandlers } from './handlers/replies.js'
import { topicHandlers } from './handlers/topics.js'
import { transactionHandlers } from './handlers/transactions.js'
import type { Reply, Session } from './net/session.js'

/** One handler for each command; a missing handler is a type error. */
const handlers: { readonly [K in keyof typeof commands]: Handler<(typeof commands)[K]> } = {
  ...connectionHandlers,
  ...topicHandlers,
  ...publishHandlers,
  ...fetchHandlers,
  ...groupHandlers,
  ...queueHandlers,
  ...replyHandlers,
  ...transactionHandlers,
  ...laterHandlers,
  ...backupHandlers,
}

type AnyHandler = (context: RequestContext, request: unknown, payload: Uint8Array) => Reply | Promise<Reply>

interface Route {
  readonly command: Command<unknown, unknown>
  readonly handler: AnyHandler
}

const routes: ReadonlyMap<number, Route> = new Map(
  Object.entries(commands).map(([key, { number }]) => [
    number,
    {
      command: commandOf(number) as Command<unknown, unknown>,
      handler: handlers[key as keyof typeof commands] as AnyHandler,
    },
  ]),
)

/**
 * Answers one frame of a connection.
 * @throws MillraceError BAD_FRAME, HELLO_REQUIRED (both end the connection), UNKNOWN_COMMAND, BAD_REQUEST, and the
 * errors of
 * the handler
 */
export function dispatch(broker: BrokerContext, session: Session, frame: Frame): Reply | Promise<Reply> {
  broker.metrics.requests++
  if (frame.flags !== 0) {
    throw new MillraceError('BAD_FRAME', `the flags of a request are ${frame.flags}, expected 0`)
  }
  const isHello = frame.command === commands.hello.number
  if (!session.isReady && !isHello) {
    throw new MillraceError('HELLO_REQUIRED', `command ${frame.command} came before hello`)
  }
  const route = routes.get(frame.command)
  if (route === undefined) {
    throw new MillraceError('UNKNOWN_COMMAND', `the broker does not know command ${frame.command}`)
  }
  const request = route.command.request.read(decodeBody(frame.body), '')
  return route.handler({ broker, session }, request, frame.payload)
}
