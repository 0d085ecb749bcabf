import { randomUUID } from 'node:crypto'
import {
  type Command,
  commands,
  errorOf,
  errorTable,
  isMillraceError,
  MillraceError,
  type ReplyOf,
} from '../protocol/index.js'
import { unlessAborted } from './abort.js'
import type { Address } from './address.js'
import { backoffMs, pause } from './backoff.js'
import type { BrokerLimits, Reply, RequestOptions } from './connection.js'
import type { LinkWatcher } from './events.js'
import { Link, type LinkOptions } from './link.js'
import { finalErrorOf } from './outcome.js'

/** An entry of the metadata cache. */
export interface TopicInfo {
  readonly name: string
  readonly topicId: number
  readonly partitions: number
  /** The broker that owns each partition. */
  readonly owners: readonly number[]
}

/**
 * Each kind of request has its own socket: the broker slows a publisher down by not reading its socket, and that must
 * not delay the heartbeats of the same client.
 */
export type Lane = 'control' | 'publish' | 'fetch' | 'replies'

export interface CallOptions {
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** Whether the client may send the request again when its outcome is unknown. */
  readonly repeatable?: boolean
  /** Bytes that follow the body. */
  readonly payload?: readonly Uint8Array[] | undefined
}

export interface ExchangeOptions<Request> extends CallOptions {
  /**
   * Returns the body of a repeat after an unknown outcome.
   * @param afterMs time since the request was first sent, in whole ms, at least
   */
  readonly repeatedBody?: ((body: Request, afterMs: number) => Request) | undefined
}

export interface ClusterOptions extends LinkOptions {
  /** Age from which an entry of the metadata cache is refreshed when it is used, ms. */
  readonly metadataMaxAgeMs?: number | undefined
}

interface CachedTopic {
  readonly info: TopicInfo
  /** When the client asked for it, ms since 1970. */
  checkedAtMs: number
}

const topicsCachedMax = 10_000
/** See `ConnectOptions`. */
export const metadataMaxAgeMsDefault = 30_000
/** Pause between two refreshes of a topic while they fail. */
const refreshPauseMs = 1_000

/** The brokers of a client: connections by broker and lane, and the owners of partitions. */
export class Cluster {
  readonly #seeds: readonly Address[]
  readonly #options: LinkOptions
  readonly #metadataMaxAgeMs: number
  readonly #watcher: LinkWatcher | undefined
  readonly #links = new Map<string, Link>()
  readonly #id = randomUUID()
  readonly #topics = new Map<string, CachedTopic>()
  readonly #asking = new Map<string, Promise<TopicInfo>>()
  #brokers = new Map<number, Address>()
  #limits: BrokerLimits | undefined
  #closed = false

  constructor(seeds: readonly Address[], options: ClusterOptions, watcher?: LinkWatcher) {
    this.#metadataMaxAgeMs = options.metadataMaxAgeMs ?? metadataMaxAgeMsDefault
    this.#seeds = seeds
    this.#watcher = watcher
    this.#options = options
  }

  /** The limits in the last hello reply of the broker; known once `connect` has resolved. */
  get limits(): BrokerLimits {
    if (this.#limits === undefined) throw new MillraceError('NOT_CONNECTED')
    return this.#limits
  }

  get requestTimeoutMs(): number {
    return this.#options.requestTimeoutMs
  }

  /** @throws MillraceError NOT_CONNECTED with every address and its error */
  async connect(signal?: AbortSignal): Promise<void> {
    await this.#link('control').connectOnce(signal)
  }

  /**
   * Sends a request that any broker can answer, on the control lane. It retries until the time limit after a retryable
   * error, and after an unknown outcome if the request is `repeatable`.
   */
  async call<Request, Body>(
    command: Command<Request, Body>,
    body: Request,
    options?: ExchangeOptions<Request>,
  ): Promise<Body> {
    return (await this.exchange(command, body, options)).body
  }

  /**
   * As `call`, with the payload of the reply.
   * @throws MillraceError CONNECTION_LOST, REQUEST_TIMEOUT or STORAGE_FAILED if the broker may have executed one of the
   * attempts, whatever the last attempt failed with: that error is the `cause`
   */
  async exchange<Request, Body>(
    command: Command<Request, Body>,
    body: Request,
    options: ExchangeOptions<Request> = {},
  ): Promise<Reply<Body>> {
    const { timeoutMs = this.requestTimeoutMs, signal, repeatable = false, payload, repeatedBody } = options
    const deadlineMs = performance.now() + timeoutMs
    const left = (): number => Math.max(1, deadlineMs - performance.now())
    /** The first of the sends whose outcome is unknown. */
    let unknownSince: Moment | undefined
    /** The error of an attempt that the broker may have executed. */
    let unanswered: MillraceError | undefined
    for (let failures = 1; ; failures++) {
      let sentAt: Moment | undefined
      try {
        const link = this.#link('control')
        const connection = link.connection ?? (await link.connected(left(), signal))
        sentAt = momentNow()
        const sent =
          unknownSince === undefined || repeatedBody === undefined
            ? body
            : repeatedBody(body, msBetween(unknownSince, sentAt))
        return await connection.request(command, sent, { timeoutMs: left(), signal, payload })
      } catch (error) {
        const unknown = isMillraceError(error, 'CONNECTION_LOST', 'REQUEST_TIMEOUT')
        if (unknown) {
          unknownSince ??= sentAt
          if (sentAt !== undefined) unanswered = error
        }
        if (isMillraceError(error, 'STORAGE_FAILED')) unanswered = error
        const again = isMillraceError(error) && error.retryable && (repeatable || !unknown)
        const pauseMs = backoffMs(failures, this.#options.reconnect)
        if (!again || this.#closed || signal?.aborted || performance.now() + pauseMs > deadlineMs)
          throw finalErrorOf(command, error, unanswered, sentAt !== undefined)
        await pause(pauseMs, signal)
      }
    }
  }

  /** Sends one request on the control lane, without retries. */
  async control<Request, Body>(
    command: Command<Request, Body>,
    body: Request,
    options?: RequestOptions,
  ): Promise<Body> {
    return (await this.#link('control').request(command, body, options)).body
  }

  /** Sends one request to the broker `owner`, without retries. */
  toOwner<Request, Body>(
    owner: number,
    lane: Lane,
    command: Command<Request, Body>,
    body: Request,
    options?: RequestOptions,
  ): Promise<Reply<Body>> {
    return this.#link(lane, owner).request(command, body, options)
  }

  /**
   * The topic, if it is in the cache. An old entry is returned too, and the client asks the broker in the background.
   * @param nowMs ms since 1970
   */
  known(name: string, nowMs: number = Date.now()): TopicInfo | undefined {
    const cached = this.#topics.get(name)
    if (cached === undefined) return undefined
    const ageMs = nowMs - cached.checkedAtMs
    // The clock may have been set back.
    if (ageMs >= this.#metadataMaxAgeMs || ageMs <= -this.#metadataMaxAgeMs) this.#refresh(cached, nowMs)
    return cached.info
  }

  /**
   * Returns the topic; asks the broker if the topic is not in the cache, or if `fresh`.
   * @throws MillraceError UNKNOWN_TOPIC
   */
  topic(
    name: string,
    { fresh = false, signal }: { fresh?: boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<TopicInfo> {
    const known = fresh ? undefined : this.known(name)
    if (known !== undefined) return Promise.resolve(known)
    let asking = this.#asking.get(name)
    if (asking === undefined) {
      const askedAtMs = Date.now()
      const asked: Promise<TopicInfo> = this.#ask(name).then(
        // A reply to a request from before `forget` may describe the topic as it was before.
        (info) => (this.#asking.get(name) === asked ? this.#know(info, askedAtMs) : info),
        (error: unknown) => {
          if (isMillraceError(error, 'UNKNOWN_TOPIC')) this.forget(name)
          throw error
        },
      )
      const done = () => void (this.#asking.get(name) === asked && this.#asking.delete(name))
      asked.then(done, done)
      this.#asking.set(name, asked)
      asking = asked
    }
    return unlessAborted(asking, signal)
  }

  /** The broker that owns a partition, if it is in the cache. */
  ownerOf(topic: string, partition: number): number {
    return this.#topics.get(topic)?.info.owners[partition] ?? 0
  }

  /**
   * Returns the topic. Asks the broker if `partition` is not among the known ones: the topic may have more by now.
   * @throws MillraceError UNKNOWN_TOPIC
   */
  async topicWith(name: string, partition: number | undefined, signal?: AbortSignal): Promise<TopicInfo> {
    const info = await this.topic(name, { signal })
    return isKnownPartition(info, partition) ? info : this.topic(name, { fresh: true, signal })
  }

  /** Removes an entry that the broker has refused, unless a newer one has replaced it. */
  refused(info: TopicInfo): void {
    if (this.#topics.get(info.name)?.info === info) this.forget(info.name)
  }

  /** Removes a topic from the cache. */
  forget(name: string): void {
    this.#topics.delete(name)
    this.#asking.delete(name)
  }

  close(): void {
    this.#closed = true
    for (const link of this.#links.values()) link.close()
  }

  async #ask(name: string): Promise<TopicInfo> {
    const reply = await this.call(commands.metadata, { topics: [name] }, { repeatable: true })
    this.#brokers = new Map(reply.brokers.map(({ brokerId, host, port }) => [brokerId, { host, port }]))
    const [found] = reply.topics
    if (found === undefined || found.error !== 0)
      throw errorOf(
        found ?? {
          error: errorTable.INTERNAL.number,
          message: `the broker's reply does not contain topic "${name}"`,
        },
      )
    return topicInfo(found)
  }

  /** Returns the entry of the cache: unchanged metadata keeps its object. */
  #know(found: TopicInfo, checkedAtMs: number): TopicInfo {
    const before = this.#topics.get(found.name)?.info
    const info = before !== undefined && isSame(before, found) ? before : found
    this.#topics.delete(info.name)
    if (this.#topics.size >= topicsCachedMax) {
      const [oldest] = this.#topics.keys()
      if (oldest !== undefined) this.#topics.delete(oldest)
    }
    this.#topics.set(info.name, { info, checkedAtMs })
    return info
  }

  #refresh(cached: CachedTopic, nowMs: number): void {
    cached.checkedAtMs = nowMs - this.#metadataMaxAgeMs + Math.min(refreshPauseMs, this.#metadataMaxAgeMs)
    // A failure is no news for the caller: the next use asks again, and a deleted topic has left the cache.
    this.topic(cached.info.name, { fresh: true }).catch(() => {})
  }

  /** A broker that was away may have other topics now. */
  #reconnected(): void {
    for (const cached of this.#topics.values()) cached.checkedAtMs = Number.NEGATIVE_INFINITY
  }

  #link(lane: Lane, owner?: number): Link {
    // With one broker, the addresses from the program reach it best: they may be addresses of a proxy.
    const address = owner === undefined || this.#brokers.size <= 1 ? undefined : this.#brokers.get(owner)
    const key = address === undefined ? lane : `${lane}/${owner}`
    let link = this.#links.get(key)
    if (link === undefined) {
      let isFirst = true
      const onHello = ({ limits }: { readonly limits: BrokerLimits }): void => {
        this.#limits = limits
        if (!isFirst) this.#reconnected()
        isFirst = false
      }
      const addresses = address === undefined ? this.#seeds : [address]
      link = new Link(addresses, this.#options, onHello, this.#watcher, { client: this.#id, lane: key })
      if (this.#closed) link.close()
      this.#links.set(key, link)
    }
    return link
  }
}

/** Whether a message for this partition, or for any, needs no newer metadata. */
export function isKnownPartition({ partitions }: TopicInfo, partition: number | undefined): boolean {
  return partition === undefined || partition < partitions
}

/** Whether the broker refused a topic id or a partition, which it checks before it does anything. */
export function isRefusedPlace(error: unknown): boolean {
  return isMillraceError(error, 'UNKNOWN_TOPIC', 'UNKNOWN_PARTITION')
}

function isSame(one: TopicInfo, other: TopicInfo): boolean {
  return (
    one.topicId === other.topicId &&
    one.partitions === other.partitions &&
    one.owners.every((owner, partition) => owner === other.owners[partition])
  )
}

interface Moment {
  readonly monotonicMs: number
  readonly wallMs: number
}

function momentNow(): Moment {
  return { monotonicMs: performance.now(), wallMs: Date.now() }
}

/** By the clock that ran more: the monotonic clock stops while a machine sleeps, and people set the wall clock. */
function msBetween(from: Moment, to: Moment): number {
  return Math.ceil(Math.max(to.monotonicMs - from.monotonicMs, to.wallMs - from.wallMs))
}

function topicInfo(found: ReplyOf<typeof commands.metadata>['topics'][number]): TopicInfo {
  const { name, topicId, owners } = found
  if (topicId === undefined || owners === undefined || owners.length === 0) {
    throw new MillraceError('BAD_FRAME', `the broker's reply contains no partitions of topic "${name}"`)
  }
  return { name, topicId, partitions: owners.length, owners }
}
