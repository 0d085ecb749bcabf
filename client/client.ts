import { commands, MillraceError, type ReplyOf } from '../protocol/index.js'
import { onAbort } from './abort.js'
import { type Address, parseAddress } from './address.js'
import { GroupsAdmin, TopicsAdmin } from './admin.js'
import { pause } from './backoff.js'
import { type Backup, beginBackup } from './backup.js'
import type { BulkPublishOptions, BulkReceipt } from './bulk_publish.js'
import { Cluster, metadataMaxAgeMsDefault } from './cluster.js'
import {
  type BrokerPort,
  type ConsumeOptions,
  Consumer,
  type ConsumerStats,
  type Message,
  type MessageOf,
} from './consumer/index.js'
import { channels, tracePublish } from './diagnostics.js'
import { ClientEmitter, type ClientEvents, type ClientListener, ConnectionStory } from './events.js'
import { DelayedAdmin, SchedulesAdmin } from './later/index.js'
import type { LinkOptions } from './link.js'
import { type CallOptions, checkCallOptions, checkOptions, type OptionNames } from './options.js'
import type { Receipt } from './producer/batch.js'
import { Producer } from './producer/producer.js'
import { type ProducerOptions, producerSettings } from './producer/settings.js'
import { Publisher } from './publisher.js'
import { QueuesAdmin } from './queues_admin.js'
import type { MessageInput } from './record.js'
import { Requests, responder, type Service, type ServiceHandler } from './service/index.js'
import {
  type KeyOf,
  type OutputOf,
  readerOf,
  type Topic,
  type TopicOrName,
  type TopicsIn,
  topicOf,
} from './topic.js'
import { Transaction } from './transaction.js'
import {
  checkWorkOptions,
  type WorkBatch,
  type WorkBatchHandler,
  type WorkBatchOptions,
  Worker,
  type WorkHandler,
  type WorkMessage,
  type WorkMessageOf,
  type WorkOptions,
  type WorkOutputOf,
  type WorkSettings,
  workBatchSettings,
  workSettings,
} from './worker/index.js'

type Messages<Value, Key> = Iterable<MessageInput<Value, Key>> | AsyncIterable<MessageInput<Value, Key>>

/** Short leases: when a worker dies, another one must get its request before the caller times out. */
const respondLeaseMs = 10_000

export type BrokerStatus = ReplyOf<typeof commands.status>

export interface ConnectOptions {
  /** Addresses as `host:port`, tried in turn. Default localhost:7420. */
  readonly servers?: string | readonly string[] | undefined
  /** The status of the broker and descriptions of groups show this name. Default "millrace". */
  readonly clientName?: string | undefined
  /** Credentials for a broker that requires them. */
  readonly token?: string | undefined
  /** Time limit of one connection attempt. Default 5,000. */
  readonly connectTimeoutMs?: number | undefined
  /** Time limit of a request until its reply, including reconnects. Default 30,000. */
  readonly requestTimeoutMs?: number | undefined
  /** Pauses between reconnect attempts: they double from about `initialMs` to `maxMs`. Default 50 and 2,000. */
  readonly reconnect?:
    | { readonly initialMs?: number | undefined; readonly maxMs?: number | undefined }
    | undefined
  /**
   * Age from which the number of partitions of a topic is refreshed when the client uses it, so that it learns of
   * partitions that another client has added. Default 30,000.
   */
  readonly metadataMaxAgeMs?: number | undefined
  readonly producer?: ProducerOptions | undefined
  /** How long `close` waits for pending messages. Default 30,000. */
  readonly closeTimeoutMs?: number | undefined
  /** Aborts the connection attempt; after the connection is open, aborting it closes the client. */
  readonly signal?: AbortSignal | undefined
}

const connectOptionNames: OptionNames<ConnectOptions> = {
  servers: true,
  clientName: true,
  token: true,
  connectTimeoutMs: true,
  requestTimeoutMs: true,
  reconnect: true,
  metadataMaxAgeMs: true,
  producer: true,
  closeTimeoutMs: true,
  signal: true,
}
const signalOnly = { signal: true } as const
const bulkOptionNames: OptionNames<BulkPublishOptions> = { signal: true, onAcknowledged: true }

/**
 * Connects to a broker.
 *
 *     await using client = await connect('localhost:7420')
 *
 * @param target one address, several addresses to try in turn, or options
 * @throws MillraceError NOT_CONNECTED with each address and its error, BAD_OPTION, UNSUPPORTED_VERSION
 */
export async function connect(target: string | readonly string[] | ConnectOptions = {}): Promise<Client> {
  const options: ConnectOptions =
    typeof target === 'string' || Array.isArray(target)
      ? { servers: target as string | readonly string[] }
      : (target as ConnectOptions)
  options.signal?.throwIfAborted()
  const client = new Client(options)
  try {
    await client.connect(options.signal)
  } catch (error) {
    await client.close({ timeoutMs: 0 })
    throw error
  }
  return client
}

/** A connection to a broker, with all operations on it. Create it with `connect`. */
export class Client implements AsyncDisposable {
  readonly topics: TopicsAdmin
  readonly groups: GroupsAdmin
  readonly queues: QueuesAdmin
  readonly delayed: DelayedAdmin
  readonly schedules: SchedulesAdmin
  readonly #addresses: readonly Address[]
  readonly #linkOptions: LinkOptions
  readonly #emitter = new ClientEmitter()
  readonly #story: ConnectionStory
  readonly #cluster: Cluster
  readonly #producer: Producer
  readonly #publisher: Publisher
  readonly #requests: Requests
  readonly #workers = new Set<{ close(): Promise<void>; kill(): void }>()
  readonly #consumers = new Set<{ close(): Promise<void>; kill(): void; stats(): ConsumerStats }>()
  readonly #closeTimeoutMs: number
  readonly #signal: AbortSignal | undefined
  #unwatchSignal: (() => void) | undefined
  readonly #onAbort = (): void => {
    this.close({ timeoutMs: 0 }).catch(() => {})
  }
  #closing: Promise<unknown> | undefined
  /** While the client closes, running handlers may still publish. After that, every publish fails. */
  #isClosed = false

  /** Use `connect`. */
  constructor(options: ConnectOptions) {
    checkOptions('connect', options, connectOptionNames)
    checkOptions('connect', options.reconnect, { initialMs: true, maxMs: true }, 'reconnect.')
    const { initialMs = 50, maxMs = 2_000 } = options.reconnect ?? {}
    const reconnect = {
      initialMs: positive('reconnect.initialMs', initialMs),
      maxMs: positive('reconnect.maxMs', maxMs),
    }
    this.#addresses = addressesOf(options.servers)
    this.#linkOptions = {
      clientName: options.clientName ?? 'millrace',
      token: options.token,
      connectTimeoutMs: positive('connectTimeoutMs', options.connectTimeoutMs ?? 5_000),
      requestTimeoutMs: positive('requestTimeoutMs', options.requestTimeoutMs ?? 30_000),
      reconnect,
    }
    this.#story = new ConnectionStory(this.#emitter, this.#linkOptions.clientName)
    const metadataMaxAgeMs = positive('metadataMaxAgeMs', options.metadataMaxAgeMs ?? metadataMaxAgeMsDefault)
    this.#cluster = new Cluster(this.#addresses, { ...this.#linkOptions, metadataMaxAgeMs }, this.#story)
    this.#producer = new Producer(this.#cluster, producerSettings(options.producer), reconnect)
    this.#publisher = new Publisher(this.#cluster, this.#producer)
    this.#requests = new Requests(this.#cluster)
    this.topics = new TopicsAdmin(this.#cluster)
    this.groups = new GroupsAdmin(this.#cluster)
    this.queues = new QueuesAdmin(this.#cluster)
    this.delayed = new DelayedAdmin(this.#cluster)
    this.schedules = new SchedulesAdmin(this.#cluster)
    this.#closeTimeoutMs = options.closeTimeoutMs ?? 30_000
    if (this.#closeTimeoutMs !== 0) positive('closeTimeoutMs', this.#closeTimeoutMs)
    this.#signal = options.signal
  }

  /** Called by `connect`. @internal */
  async connect(signal?: AbortSignal): Promise<void> {
    await this.#cluster.connect(signal)
    this.#signal?.throwIfAborted()
    if (this.#signal !== undefined) this.#unwatchSignal = onAbort(this.#signal, this.#onAbort)
  }

  /**
   * Whether the client has a connection to a broker. The client reopens a lost connection as soon as it needs one:
   * consumers and workers always need it, an idle client does not.
   */
  get isConnected(): boolean {
    return this.#story.isConnected
  }

  /**
   * Calls `listener` for each event of the client: `disconnected`, `reconnecting` (before each attempt) and
   * `connected`. The events describe the client as a whole, not each of its sockets. Without a listener for
   * `disconnected` or `reconnecting`, the first loss of the connection prints a process warning.
   *
   *     client.on('disconnected', ({ address, error }) => log.warn(`${address}: ${error.message}`))
   *
   * @throws MillraceError BAD_OPTION for an unknown event
   */
  on<Name extends keyof ClientEvents>(event: Name, listener: ClientListener<Name>): this {
    this.#emitter.add(event, listener, false)
    return this
  }

  /** Like `on`, for the next event only. @throws MillraceError BAD_OPTION for an unknown event */
  once<Name extends keyof ClientEvents>(event: Name, listener: ClientListener<Name>): this {
    this.#emitter.add(event, listener, true)
    return this
  }

  /** Removes a listener that `on` or `once` added. */
  off<Name extends keyof ClientEvents>(event: Name, listener: ClientListener<Name>): this {
    this.#emitter.remove(event, listener)
    return this
  }

  /**
   * Publishes a message; resolves when the message survives a crash of the broker. Consumers read messages with the
   * same key in the order of their `publish` calls. The same holds for messages without a key if each is published
   * after the receipt of the one before.
   * Aborting `signal` ends the wait; a message that is already in the buffer may still be published.
   * @throws MillraceError UNKNOWN_TOPIC, UNKNOWN_PARTITION, ENCODE_FAILED, VALUE_TOO_LARGE, BUFFER_FULL (if so
   * configured), DELIVERY_TIMEOUT (the outcome is unknown), OUTCOME_UNKNOWN (with an id or a delay, if the
   * `dedupeWindow` of the topic is too short for a repeat after a lost reply), CLOSED
   */
  publish(
    topic: string,
    message: MessageInput<Uint8Array | null, string>,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Receipt>
  publish<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<NoInfer<Input>, NoInfer<Key>>,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Receipt>
  publish(
    topic: TopicOrName,
    message: MessageInput<unknown, unknown>,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Receipt> {
    try {
      checkOptions('client.publish', options, signalOnly)
      return this.#publish(this.#topic(topic), message, options.signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Publishes many messages without a promise for each; resolves when all of them are durable. It reads `messages` only
   * as fast as the broker acknowledges them. Aborting `signal` ends the call; messages that it has already read may
   * still be published. `onAcknowledged` reports the number of durable messages.
   * @throws MillraceError like `publish`, for the first message that fails; other messages may have been published
   */
  publishMany(
    topic: string,
    messages: Messages<Uint8Array | null, string>,
    options?: BulkPublishOptions,
  ): Promise<BulkReceipt>
  publishMany<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    messages: Messages<NoInfer<Input>, NoInfer<Key>>,
    options?: BulkPublishOptions,
  ): Promise<BulkReceipt>
  async publishMany(
    topic: TopicOrName,
    messages: Messages<unknown, unknown>,
    options: BulkPublishOptions = {},
  ): Promise<BulkReceipt> {
    checkOptions('client.publishMany', options, bulkOptionNames)
    const known = this.#topic(topic)
    if (!channels.publish.hasSubscribers) return this.#publisher.publishMany(known, messages, options)
    return tracePublish(known.name, undefined, () => this.#publisher.publishMany(known, messages, options))
  }

  /** Resolves when every message published before this call is durable or has failed. */
  flush(): Promise<void> {
    return this.#publisher.flush()
  }

  /**
   * Reads one topic or several, alone or as a member of a group.
   * @throws MillraceError BAD_OPTION, CLOSED
   */
  consume<Input, Output, Key, Name extends string>(
    topic: Topic<Input, Output, Key, Name>,
    options?: ConsumeOptions,
  ): Consumer<Output, Key, Message<Output, Key, Name>>
  consume<const Topics extends string | readonly TopicOrName[]>(
    topics: Topics,
    options?: ConsumeOptions,
  ): Consumer<OutputOf<TopicsIn<Topics>>, KeyOf<TopicsIn<Topics>>, MessageOf<TopicsIn<Topics>>>
  consume(
    topics: TopicOrName | readonly TopicOrName[],
    options: ConsumeOptions = {},
  ): Consumer<unknown, unknown> {
    if (this.#closing !== undefined) throw new MillraceError('CLOSED', 'the client is closed')
    const consumed = listOf(topics).map((one) => {
      const topic = topicOf(one)
      return { name: topic.name, decoder: readerOf(topic, topic.tombstones) }
    })
    for (const one of this.#consumers) if (one.stats().state === 'closed') this.#consumers.delete(one)
    const consumer = new Consumer(this.#port(), consumed, options)
    this.#consumers.add(consumer)
    return consumer
  }

  /**
   * Handles the messages of a queue group together with any number of other workers; each message goes to one of them.
   * When the handler resolves, the worker acknowledges the message. When it throws, the attempt has failed, and the
   * broker delivers the message again according to the settings of the group.
   * @throws MillraceError BAD_OPTION, CLOSED
   */
  work<Input, Output, Key, Name extends string>(
    topic: Topic<Input, Output, Key, Name>,
    options: WorkOptions<WorkMessage<Output, Key, Name>>,
    handler: WorkHandler<Output, Key, Name>,
  ): Worker<Output, Key>
  work<const Topics extends string | readonly TopicOrName[]>(
    topics: Topics,
    options: WorkOptions<WorkMessageOf<TopicsIn<Topics>>>,
    handler: (message: WorkMessageOf<TopicsIn<Topics>>) => unknown,
  ): Worker<WorkOutputOf<TopicsIn<Topics>>, KeyOf<TopicsIn<Topics>>>
  work(
    topics: TopicOrName | readonly TopicOrName[],
    options: WorkOptions<never>,
    handler: (message: never) => unknown,
  ): Worker<unknown, unknown> {
    return this.#work(topics, workSettings(options), handler as WorkHandler<unknown, unknown>)
  }

  /**
   * Like `work`, with a handler that gets up to `messagesMax` messages at a time. When it resolves, the worker
   * acknowledges the messages. When it throws, the attempt of each message has failed. `batch.fail` and `batch.ack`
   * settle single messages, independently of the rest.
   *
   *     client.workBatch(mails, { group: 'mailer', messagesMax: 50, waitMs: 20 }, async (batch) => {
   *       const bounced = await sendAll(batch.messages.map(({ value }) => value))
   *       for (const index of bounced) batch.fail(batch.messages[index], new Reject('no such address'))
   *     })
   *
   * @throws MillraceError BAD_OPTION, CLOSED
   */
  workBatch<Input, Output, Key, Name extends string>(
    topic: Topic<Input, Output, Key, Name>,
    options: WorkBatchOptions<WorkMessage<Output, Key, Name>>,
    handler: WorkBatchHandler<Output, Key, Name>,
  ): Worker<Output, Key>
  workBatch<const Topics extends string | readonly TopicOrName[]>(
    topics: Topics,
    options: WorkBatchOptions<WorkMessageOf<TopicsIn<Topics>>>,
    handler: (batch: WorkBatch<WorkMessageOf<TopicsIn<Topics>>>) => unknown,
  ): Worker<WorkOutputOf<TopicsIn<Topics>>, KeyOf<TopicsIn<Topics>>>
  workBatch(
    topics: TopicOrName | readonly TopicOrName[],
    options: WorkBatchOptions<never>,
    handler: (batch: never) => unknown,
  ): Worker<unknown, unknown> {
    return this.#work(topics, workBatchSettings(options), handler as WorkBatchHandler<unknown, unknown>)
  }

  /**
   * Sends a request to a service, and resolves with its reply.
   * @throws MillraceError REQUEST_TIMEOUT, REPLY_FAILED with the error of the service, every error of `publish`; the
   * reason of `signal`
   */
  async request<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>(
    service: Service<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>,
    message: Omit<MessageInput<RequestIn, Key>, 'delay' | 'deliverAt' | 'id' | 'ttlMs' | 'timestamp'>,
    options: CallOptions = {},
  ): Promise<ReplyOut> {
    checkCallOptions('client.request', options)
    const { timeoutMs = this.#cluster.requestTimeoutMs, signal } = options
    if (this.#isClosed) throw new MillraceError('CLOSED', 'the client is closed')
    return this.#requests.request(service, message, positive('timeoutMs', timeoutMs), signal, (one) =>
      this.#publish(service.topic, one),
    )
  }

  /**
   * Replies to the requests of a service, together with any number of other workers. The result of the handler is the
   * reply; an error of the handler becomes the error of the caller. When a worker dies, its requests go to another one.
   * @param options like those of `work`; the default group is `respond.TOPIC`, and leases last 10 s
   * @throws MillraceError BAD_OPTION, CLOSED
   */
  respond<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>(
    service: Service<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>,
    options: Partial<WorkOptions<WorkMessage<RequestOut, Key>>>,
    handler: ServiceHandler<RequestOut, ReplyIn, Key>,
  ): Worker<RequestOut, Key> {
    checkWorkOptions('client.respond', options)
    const settings = { expired: 'drop', retry: { kind: 'fixed', delay: 0 }, ...options.settings } as const
    const group = options.group ?? `respond.${service.topic.name}`
    return this.work(
      service.topic,
      { leaseMs: respondLeaseMs, ...options, group, settings },
      responder(this.#cluster, service, handler),
    )
  }

  /**
   * Publishes messages, acknowledges messages in progress and commits offsets, atomically: the broker commits either
   * all of it or nothing. When `build` throws, the client sends nothing.
   * @throws the error of `build`; MillraceError LEASE_LOST, UNKNOWN_TOPIC, ENCODE_FAILED, VALUE_TOO_LARGE, CLOSED and
   * others: nothing was committed; REQUEST_TIMEOUT, CONNECTION_LOST, STORAGE_FAILED: the outcome is unknown
   */
  async transaction<T>(build: (transaction: Transaction) => T | Promise<T>): Promise<T> {
    if (this.#isClosed) throw new MillraceError('CLOSED', 'the client is closed')
    const transaction = new Transaction(this.#cluster)
    const result = await build(transaction)
    await transaction.commit()
    return result
  }

  /**
   * Begins a backup of all that is durable now, which `millrace backup` stores and `millrace restore` reads.
   * @throws MillraceError BACKUP_RUNNING, STORAGE_FULL, STORAGE_FAILED
   */
  backup(options: CallOptions = {}): Promise<Backup> {
    return beginBackup(this.#cluster, options)
  }

  /** Returns the status of the broker. */
  async status(options: CallOptions = {}): Promise<BrokerStatus> {
    checkCallOptions('client.status', options)
    return this.#cluster.call(commands.status, {}, { ...options, repeatable: true })
  }

  /**
   * Waits for the handlers of workers and consumers (they may still publish), closes consumers and commits acknowledged
   * messages, waits for pending publishes, and disconnects. Messages that are not durable after `timeoutMs` fail with
   * CLOSED. A second call can shorten the wait.
   */
  async close(options: { readonly timeoutMs?: number | undefined } = {}): Promise<void> {
    checkOptions('client.close', options, { timeoutMs: true })
    const { timeoutMs = this.#closeTimeoutMs } = options
    this.#closing ??= this.#finish()
    await this.#end(this.#closing, timeoutMs)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Completes the work in progress. */
  async #finish(): Promise<void> {
    this.#unwatchSignal?.()
    const handling = [...this.#workers, ...[...this.#consumers].filter((one) => one.stats().running > 0)]
    // These handlers may still publish.
    if (handling.length > 0) await Promise.allSettled(handling.map((one) => one.close()))
    this.#isClosed = true
    this.#publisher.close()
    await Promise.allSettled([
      this.#publisher.flush(),
      ...Array.from(this.#consumers, (consumer) => consumer.close()),
    ])
  }

  async #end(finished: Promise<unknown>, timeoutMs: number): Promise<void> {
    const stopWaiting = new AbortController()
    await Promise.race([finished, pause(timeoutMs, stopWaiting.signal)])
    stopWaiting.abort()
    this.#isClosed = true
    for (const worker of this.#workers) worker.kill()
    for (const consumer of this.#consumers) consumer.kill()
    this.#producer.close()
    this.#publisher.end()
    this.#requests.close(new MillraceError('CLOSED', 'the client was closed before the reply came'))
    this.#story.close()
    this.#cluster.close()
    await finished
  }

  #publish<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    signal?: AbortSignal,
  ): Promise<Receipt> {
    if (!channels.publish.hasSubscribers) return this.#publisher.publish(topic, message, signal)
    return tracePublish(topic.name, message, (one) =>
      this.#publisher.publish(topic, one as MessageInput<Input, Key>, signal),
    )
  }

  #work(
    topics: TopicOrName | readonly TopicOrName[],
    settings: WorkSettings,
    handler: WorkHandler<unknown, unknown> | WorkBatchHandler<unknown, unknown>,
  ): Worker<unknown, unknown> {
    if (this.#closing !== undefined) throw new MillraceError('CLOSED', 'the client is closed')
    const worked = listOf(topics).map((one) => {
      const topic = topicOf(one)
      // A worker accepts tombstones only in a topic that is defined with them.
      const source = readerOf(topic, typeof one !== 'string' && topic.tombstones)
      return { name: topic.name, source, ahead: source.ahead }
    })
    const host = {
      cluster: this.#cluster,
      addresses: this.#addresses,
      options: this.#linkOptions,
      ended: () => this.#workers.delete(worker),
    }
    const worker = new Worker(host, worked, settings, handler)
    this.#workers.add(worker)
    return worker
  }

  #topic(topic: TopicOrName): Topic<unknown, unknown, unknown> {
    if (this.#isClosed) throw new MillraceError('CLOSED', 'the client is closed')
    return topicOf(topic)
  }

  #port(): BrokerPort {
    const cluster = this.#cluster
    return {
      limits: cluster.limits,
      control: (command, body, options) => cluster.control(command, body, options),
      toOwner: (owner, command, body, options) => cluster.toOwner(owner, 'fetch', command, body, options),
      ownerOf: (topic, partition) => cluster.ownerOf(topic, partition),
      topic: (name, options) => cluster.topic(name, options),
    }
  }
}

function listOf(topics: TopicOrName | readonly TopicOrName[]): readonly TopicOrName[] {
  return Array.isArray(topics) ? topics : [topics as TopicOrName]
}

function addressesOf(servers: string | readonly string[] = 'localhost'): Address[] {
  const list = typeof servers === 'string' ? [servers] : servers
  if (list.length === 0)
    throw new MillraceError('BAD_OPTION', 'the option "servers" is empty, expected at least one address')
  return list.map(parseAddress)
}

function positive(name: string, value: number): number {
  if (Number.isFinite(value) && value > 0) return value
  throw new MillraceError('BAD_OPTION', `the option "${name}" is ${value}, expected a number of ms above 0`)
}
