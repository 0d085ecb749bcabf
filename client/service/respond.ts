import { commands, isMillraceError } from '../../protocol/index.js'
import type { Cluster } from '../cluster.js'
import { errorText, type WorkHandler, type WorkMessage } from '../worker/index.js'
import { requestHeaders } from './requests.js'
import type { Service } from './service.js'

/** Handles a request: the resolved value is the reply; a thrown error becomes the error of the requester. */
export type ServiceHandler<RequestOut, ReplyIn, Key> = (
  message: WorkMessage<RequestOut, Key>,
) => ReplyIn | Promise<ReplyIn>

/** A worker handler that replies to requests. */
export function responder<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>(
  cluster: Cluster,
  service: Service<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>,
  handler: ServiceHandler<RequestOut, ReplyIn, Key>,
): WorkHandler<RequestOut, Key> {
  return async (message) => {
    const to = message.headerText(requestHeaders.replyTo)
    const requestId = message.headerText(requestHeaders.requestId)
    const deadlineMs = Number(message.headerText(requestHeaders.deadlineMs))
    // The requester no longer waits.
    if (to === undefined || requestId === undefined || Date.now() >= deadlineMs) return
    let value: Uint8Array | undefined
    let error: string | undefined
    try {
      const encoded = await service.reply.encode(await handler(message))
      value = typeof encoded === 'string' ? Buffer.from(encoded) : encoded
    } catch (reason) {
      error = errorText(reason)
    }
    const send = (payload: readonly Uint8Array[], error?: string): Promise<unknown> => {
      const timeoutMs = Math.max(1, deadlineMs - Date.now())
      return cluster.call(
        commands.replySend,
        { to, requestId, error },
        { timeoutMs, repeatable: true, payload },
      )
    }
    try {
      await send(value === undefined ? [] : [value], error)
    } catch (refusal) {
      // For example, it is too large: a second attempt would not help, and the requester should know.
      if (!isMillraceError(refusal) || refusal.retryable) throw refusal
      await send([], errorText(refusal))
    }
  }
}
