import { randomUUID } from 'node:crypto'
import { commands, durationText, MillraceError, type ReplyOf } from '../../protocol/index.js'
import { onAbort } from '../abort.js'
import { pause } from '../backoff.js'
import type { Cluster } from '../cluster.js'
import type { MessageInput } from '../record.js'
import type { Service } from './service.js'

type Replies = ReplyOf<typeof commands.replyPoll>['replies']

/** Headers of a request. */
export const requestHeaders = {
  replyTo: 'millrace-reply-to',
  requestId: 'millrace-request-id',
  deadlineMs: 'millrace-deadline-ms',
} as const

interface Pending {
  resolve(value: Uint8Array): void
  reject(error: unknown): void
}

const pollWaitMs = 30_000
const failurePauseMs = 100
/** The longest delay of a timer. */
const timerMsMax = 2 ** 31 - 1

/** The requests of a client that wait for their replies. */
export class Requests {
  readonly #cluster: Cluster
  readonly #address = randomUUID()
  readonly #pending = new Map<string, Pending>()
  readonly #closing = new AbortController()
  #ids = 0
  /** Acknowledges the newest answer; 0 if there is none. */
  #received = 0
  #polling = false

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /**
   * Publishes a request and waits for its reply.
   * @param publish publishes the message with these headers
   */
  async request<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>(
    service: Service<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>,
    message: MessageInput<RequestIn, Key>,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    publish: (message: MessageInput<RequestIn, Key>) => Promise<unknown>,
  ): Promise<ReplyOut> {
    signal?.throwIfAborted()
    const requestId = (this.#ids++).toString(36)
    const reply = this.#reply(requestId, service.topic.name, timeoutMs, signal)
    const headers = {
      ...message.headers,
      [requestHeaders.replyTo]: this.#address,
      [requestHeaders.requestId]: requestId,
      [requestHeaders.deadlineMs]: String(Date.now() + timeoutMs),
    }
    publish({ ...message, headers, ttlMs: Math.ceil(timeoutMs) }).catch((error: unknown) =>
      this.#pending.get(requestId)?.reject(error),
    )
    return service.reply.decode(await reply)
  }

  close(error: MillraceError): void {
    this.#closing.abort(error)
    for (const pending of [...this.#pending.values()]) pending.reject(error)
  }

  #reply(
    requestId: string,
    service: string,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array> {
    const reply = new Promise<Uint8Array>((resolve, reject) => {
      const ended = (): void => {
        clearTimeout(timer)
        unwatch?.()
        this.#pending.delete(requestId)
      }
      const pending = {
        resolve: (value: Uint8Array) => {
          ended()
          resolve(value)
        },
        reject: (error: unknown) => {
          ended()
          reject(error)
        },
      }
      const timer = setTimeout(
        () =>
          pending.reject(
            new MillraceError(
              'REQUEST_TIMEOUT',
              `service "${service}" did not reply within ${durationText(timeoutMs)}`,
            ),
          ),
        Math.min(timeoutMs, timerMsMax),
      )
      const unwatch = signal && onAbort(signal, () => pending.reject(signal.reason))
      this.#pending.set(requestId, pending)
    })
    reply.catch(() => {})
    if (!this.#polling) void this.#poll()
    return reply
  }

  /** Polls while a request waits. */
  async #poll(): Promise<void> {
    this.#polling = true
    const { signal } = this.#closing
    while (this.#pending.size > 0 && !signal.aborted) {
      try {
        const request = { address: this.#address, waitMs: pollWaitMs, received: this.#received }
        const { body, payload } = await this.#cluster.toOwner(0, 'replies', commands.replyPoll, request, {
          timeoutMs: pollWaitMs + this.#cluster.requestTimeoutMs,
          signal,
        })
        this.#received = body.number ?? this.#received
        this.#take(body.replies, payload)
      } catch {
        await pause(failurePauseMs, signal)
      }
    }
    this.#polling = false
  }

  /** Ignores replies to requests that do not wait: also those that arrived before and came again. */
  #take(replies: Replies, payload: Uint8Array): void {
    let at = 0
    for (const [requestId, bytes, error] of replies) {
      const pending = this.#pending.get(requestId)
      if (error === undefined) pending?.resolve(payload.subarray(at, at + bytes))
      else pending?.reject(new MillraceError('REPLY_FAILED', error))
      at += bytes
    }
  }
}
