import type { ReplyOf, RequestOf } from '../../protocol/index.js'
import type { BrokerContext } from '../context.js'
import type { Session } from '../net/session.js'

/** Context of a handler in addition to its request. */
export interface RequestContext {
  readonly broker: BrokerContext
  readonly session: Session
}

/** A reply of a command; the payload is sent without a copy. */
export interface HandlerReply<Body> {
  readonly body: Body
  readonly payload?: readonly Uint8Array[] | undefined
  /** Called once the kernel has the payload; never if the connection ends before. */
  readonly sent?: (() => void) | undefined
  /** Room that the handler reserved for this reply; released when the outbox counts the reply itself. */
  readonly acquiredBytes?: number | undefined
}

/**
 * Answers a request of command `C`. If a handler returns a value and no promise, the reply goes out without a turn of
 * the event loop. It must not keep `payload` after the answer, because the memory is reused. Its error becomes the
 * error
 * reply; an error that is not a MillraceError is logged and sent as INTERNAL.
 */
export type Handler<C> = (
  context: RequestContext,
  request: RequestOf<C>,
  payload: Uint8Array,
) => HandlerReply<ReplyOf<C>> | Promise<HandlerReply<ReplyOf<C>>>
