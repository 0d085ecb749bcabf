import type { ReplyOf, RequestOf } from '../../protocol/index.js'
import type { BrokerContext } from '../context.js'
import type { Session } from '../net/session.js'

/** What every handler gets beside its request. */
export interface RequestContext {
  readonly broker: BrokerContext
  readonly session: Session
}

/** A reply of a command; the payload is sent without being copied. */
export interface HandlerReply<Body> {
  readonly body: Body
  readonly payload?: readonly Uint8Array[] | undefined
  /** Called once the payload is with the kernel; never when the connection ends before. */
  readonly sent?: (() => void) | undefined
  /** Room that the handler acquired for this reply; it is released when the reply itself is counted. */
  readonly acquiredBytes?: number | undefined
}

/**
 * Answers a request of command `C`. A handler that returns a value instead of a promise is answered without a turn of
 * the event loop. It must not keep `payload` for longer than until it is answered: its memory is used again. What it throws becomes the error
 * reply; anything but a MillraceError is logged and sent as INTERNAL.
 */
export type Handler<C> = (
  context: RequestContext,
  request: RequestOf<C>,
  payload: Uint8Array,
) => HandlerReply<ReplyOf<C>> | Promise<HandlerReply<ReplyOf<C>>>
